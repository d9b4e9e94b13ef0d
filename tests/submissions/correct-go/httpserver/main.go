// Exercise 3: a web server on plain TCP, a goroutine per connection.
package main

import (
	"bufio"
	"fmt"
	"log"
	"net"
	"strings"
	"time"
)

const page = "<!doctype html><title>Go</title><p>Hello from a goroutine.</p>\n"

func handle(target string) (status, body string) {
	defer func() {
		if r := recover(); r != nil {
			log.Println("panic:", r)
			status, body = "500 Internal Server Error", "something went wrong\n"
		}
	}()
	switch target {
	case "/":
		return "200 OK", page
	case "/panic":
		var nothing []string
		return "200 OK", nothing[1]
	}
	return "404 Not Found", "no such page\n"
}

func serve(conn net.Conn) {
	defer conn.Close()
	reader := bufio.NewReader(conn)
	for {
		conn.SetReadDeadline(time.Now().Add(time.Minute))
		line, err := reader.ReadString('\n')
		if err != nil {
			return
		}
		parts := strings.Fields(line)
		for size := 0; ; {
			field, err := reader.ReadString('\n')
			size += len(field)
			if err != nil || size > 1<<16 {
				return
			}
			if strings.TrimSpace(field) == "" {
				break
			}
		}
		status, body, method := "400 Bad Request", "what?\n", ""
		if len(parts) == 3 {
			method = parts[0]
			status, body = handle(parts[1])
		}
		fmt.Fprintf(conn, "HTTP/1.1 %s\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n",
			status, len(body))
		if method != "HEAD" {
			fmt.Fprint(conn, body)
		}
		if method == "" {
			return
		}
	}
}

func main() {
	listener, err := net.Listen("tcp", ":12345")
	if err != nil {
		log.Fatal(err)
	}
	for {
		conn, err := listener.Accept()
		if err == nil {
			go serve(conn)
		}
	}
}
