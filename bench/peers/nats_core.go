// nats_core: the same ephemeral work as `adminctl bench ephemeral|request`, done by NATS core with its own client, in one process.
// Usage: nats_core ephemeral|request [flags]; prints one JSON line. Payloads carry a counter: order and completeness are checked.
//
// ephemeral: with one topic every subscriber (a connection each) gets every message. With more topics, message k has topic
// bench.(k%subs).(k/subs), subscription i is bench.i.*, all on one connection: each message goes to one.
package main

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sort"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

type result struct {
	Work       string  `json:"work"`
	Count      int     `json:"count"`
	Seconds    float64 `json:"seconds"`
	Rate       float64 `json:"msgs_per_s"`
	Delivered  float64 `json:"delivered_per_s"`
	MBps       float64 `json:"mb_per_s"`
	P50        float64 `json:"p50_us"`
	P99        float64 `json:"p99_us"`
	Lost       int     `json:"lost"`
	OutOfOrder int     `json:"out_of_order"`
	Duplicates int     `json:"duplicates"`
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "nats_core:", err)
		os.Exit(1)
	}
}

func percentile(us []float64, p float64) float64 {
	if len(us) == 0 {
		return 0
	}
	sort.Float64s(us)
	return us[int(float64(len(us)-1)*p)]
}

// A subscriber: what it has seen. Own cache line.
type subscriber struct {
	seen       int64
	last       int64
	outOfOrder int64
	_          [40]byte
}

func (s *subscriber) take(m *nats.Msg) {
	n := int64(binary.LittleEndian.Uint64(m.Data))
	if n <= s.last {
		s.outOfOrder++
	}
	s.last = n
}

func connect(url string) *nats.Conn {
	c, err := nats.Connect(url, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { must(err) }))
	must(err)
	return c
}

func ephemeral(url string, count, size, subs, topics, window int, out *result) {
	publisher := connect(url)
	defer publisher.Close()
	seen := make([]subscriber, subs)
	connections := []*nats.Conn{}
	fanout := 1
	names := make([]string, topics)
	subscribe := func(c *nats.Conn, subject string, s *subscriber) {
		s.last = -1
		subscription, err := c.Subscribe(subject, func(m *nats.Msg) {
			s.take(m)
			atomic.AddInt64(&s.seen, 1)
		})
		must(err)
		must(subscription.SetPendingLimits(-1, -1))
	}
	var total int64 // deliveries, when all come on one connection
	if topics == 1 {
		fanout = subs
		names[0] = "bench"
		for i := range seen {
			c := connect(url)
			connections = append(connections, c)
			subscribe(c, "bench", &seen[i])
		}
	} else {
		c := connect(url)
		connections = append(connections, c)
		for k := range names {
			names[k] = fmt.Sprintf("bench.%d.%d", k%subs, k/subs)
		}
		// One channel for all: a goroutine for each of 10,000 subscriptions is slower.
		channel := make(chan *nats.Msg, 2*window)
		for i := range seen {
			seen[i].last = -1
			_, err := c.ChanSubscribe(fmt.Sprintf("bench.%d.*", i), channel)
			must(err)
		}
		last := int64(-1)
		go func() {
			for m := range channel {
				n := int64(binary.LittleEndian.Uint64(m.Data))
				if n <= last {
					seen[0].outOfOrder++
				}
				last = n
				atomic.AddInt64(&total, 1)
			}
		}()
	}
	for _, c := range connections {
		must(c.Flush())
	}
	done := func() int64 {
		if topics > 1 {
			return atomic.LoadInt64(&total)
		}
		least := atomic.LoadInt64(&seen[0].seen)
		for i := range seen {
			if n := atomic.LoadInt64(&seen[i].seen); n < least {
				least = n
			}
		}
		return least
	}
	payload := make([]byte, size)
	start := time.Now()
	for i := 0; i < count; i++ {
		if i%1024 == 0 {
			for int64(i)-done() > int64(window) { // else the server drops us as slow
				time.Sleep(50 * time.Microsecond)
			}
		}
		binary.LittleEndian.PutUint64(payload, uint64(i))
		must(publisher.Publish(names[i%topics], payload))
	}
	must(publisher.Flush())
	deadline := time.Now().Add(30 * time.Second)
	for done() < int64(count) && time.Now().Before(deadline) {
		time.Sleep(100 * time.Microsecond)
	}
	out.Seconds = time.Since(start).Seconds()
	out.Lost = count - int(done())
	for i := range seen {
		out.OutOfOrder += int(seen[i].outOfOrder)
	}
	out.Delivered = float64(count*fanout) / out.Seconds
	for _, c := range connections {
		c.Close()
	}
}

func request(url string, count, size int, out *result) {
	responder, requester := connect(url), connect(url)
	_, err := responder.Subscribe("bench", func(m *nats.Msg) { must(m.Respond(m.Data)) })
	must(err)
	must(responder.Flush())
	payload := make([]byte, size)
	latencies := make([]float64, 0, count)
	start := time.Now()
	for i := 0; i < count; i++ {
		binary.LittleEndian.PutUint64(payload, uint64(i))
		t := time.Now()
		m, err := requester.Request("bench", payload, 5*time.Second)
		must(err)
		latencies = append(latencies, float64(time.Since(t).Nanoseconds())/1000)
		if binary.LittleEndian.Uint64(m.Data) != uint64(i) {
			out.OutOfOrder++
		}
	}
	out.Seconds = time.Since(start).Seconds()
	out.P50, out.P99 = percentile(latencies, 0.5), percentile(latencies, 0.99)
	responder.Close()
	requester.Close()
}

func main() {
	work := os.Args[1]
	flags := flag.NewFlagSet(work, flag.ExitOnError)
	url := flags.String("url", "nats://127.0.0.1:4222", "")
	count := flags.Int("count", 100000, "")
	size := flags.Int("size", 100, "")
	subs := flags.Int("subs", 1, "")
	topics := flags.Int("topics", 1, "")
	window := flags.Int("window", 100000, "messages published and not yet delivered")
	must(flags.Parse(os.Args[2:]))
	out := result{Work: work, Count: *count}
	switch work {
	case "ephemeral":
		ephemeral(*url, *count, *size, *subs, *topics, *window, &out)
	case "request":
		request(*url, *count, *size, &out)
	default:
		must(fmt.Errorf("unknown work %q", work))
	}
	out.Rate = float64(*count) / out.Seconds
	out.MBps = out.Rate * float64(*size) / 1e6
	must(json.NewEncoder(os.Stdout).Encode(out))
}
