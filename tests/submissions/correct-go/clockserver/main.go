// Exercise 2, server: tells the time, a goroutine per client.
package main

import (
	"bufio"
	"fmt"
	"log"
	"net"
	"time"
)

func serve(conn net.Conn) {
	defer conn.Close()
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		if _, err := fmt.Fprintln(conn, time.Now().Format(time.RFC3339Nano)); err != nil {
			return
		}
	}
}

func main() {
	listener, err := net.Listen("tcp", ":1236")
	if err != nil {
		log.Fatal(err)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			log.Println(err)
			continue
		}
		go serve(conn)
	}
}
