// Exercise 1, server: acknowledges datagrams, one in two is lost on purpose.
package main

import (
	"fmt"
	"log"
	"math/rand"
	"net"
	"time"
)

func main() {
	conn, err := net.ListenPacket("udp", ":1234")
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	rng := rand.New(rand.NewSource(time.Now().UnixNano()))
	buffer := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			log.Println("read:", err)
			continue
		}
		if rng.Float64() < 0.5 {
			log.Printf("%v: %d bytes, dropped", from, n)
			continue
		}
		reply := fmt.Sprintf("ack %q", buffer[:min(n, 400)])
		if _, err := conn.WriteTo([]byte(reply), from); err != nil {
			log.Println("write:", err)
		}
	}
}

func min(a, b int) int {
	if a < b {
		return a
	}
	return b
}
