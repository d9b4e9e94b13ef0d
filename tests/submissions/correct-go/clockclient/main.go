// Exercise 2, client: how far is the server's clock from ours?
package main

import (
	"bufio"
	"flag"
	"fmt"
	"log"
	"net"
	"strings"
	"time"
)

func main() {
	n := flag.Int("n", 4, "number of requests")
	flag.Parse()
	conn, err := net.DialTimeout("tcp", "10.0.0.5:1236", 10*time.Second)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	reader := bufio.NewReader(conn)
	for i := 1; i <= *n; i++ {
		start := time.Now()
		fmt.Fprintf(conn, "what time is it?\n")
		line, err := reader.ReadString('\n')
		if err != nil {
			log.Fatal(err)
		}
		rtt := time.Since(start)
		serverTime, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(line))
		if err != nil {
			fmt.Println("cannot read", line)
			continue
		}
		fmt.Printf("%d: server says %s, difference %v (round trip %v)\n",
			i, serverTime.Format("15:04:05.000"), serverTime.Sub(start.Add(rtt/2)), rtt)
	}
}
