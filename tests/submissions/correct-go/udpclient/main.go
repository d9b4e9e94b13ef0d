// Exercise 1, client: retransmits with growing timeouts, reports round trip times.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"strings"
	"time"
)

const server = "10.0.0.5:1234"

func main() {
	n := flag.Int("n", 10, "number of requests")
	flag.Parse()

	conn, err := net.Dial("udp", server)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	var sum time.Duration
	answered := 0
	for i := 1; i <= *n; i++ {
		rtt, err := ping(conn, i)
		if err != nil {
			fmt.Printf("request %d: %v\n", i, err)
			continue
		}
		fmt.Printf("request %d: rtt %v\n", i, rtt)
		sum += rtt
		answered++
	}
	if answered > 0 {
		fmt.Printf("%d answered, average rtt %v\n", answered, sum/time.Duration(answered))
	}
}

func ping(conn net.Conn, number int) (time.Duration, error) {
	a, b := 200*time.Millisecond, 300*time.Millisecond // Fibonacci: 200, 300, 500, 800 ...
	for attempt := 1; attempt <= 7; attempt++ {
		id := fmt.Sprintf("id=%d-%d;", number, attempt)
		start := time.Now()
		if _, err := conn.Write([]byte(id)); err != nil {
			log.Println(err)
		}
		conn.SetReadDeadline(start.Add(a))
		buffer := make([]byte, 1500)
		for {
			n, err := conn.Read(buffer)
			if err != nil {
				if time.Since(start) < a { // connection refused: nobody there yet
					time.Sleep(a - time.Since(start))
				}
				break
			}
			if strings.Contains(string(buffer[:n]), id) {
				return time.Since(start), nil
			}
		}
		fmt.Printf("request %d: no answer in %v\n", number, a)
		a, b = b, a+b
	}
	return 0, fmt.Errorf("no answer")
}
