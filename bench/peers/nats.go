// nats: the same work as `adminctl bench`, done by NATS with its own client. Usage: nats WORK [flags]; prints one JSON line.
// Works: publish consume read. Payloads carry a counter, so that order and completeness are checked.
package main

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

type result struct {
	Work       string  `json:"work"`
	Count      int     `json:"count"`
	Seconds    float64 `json:"seconds"`
	Rate       float64 `json:"msgs_per_s"`
	MBps       float64 `json:"mb_per_s"`
	P50        float64 `json:"p50_us"`
	P99        float64 `json:"p99_us"`
	Lost       int     `json:"lost"`
	OutOfOrder int     `json:"out_of_order"`
	Duplicates int     `json:"duplicates"`
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "nats:", err)
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

// Several members of one group, each with a connection of its own: every message must come to one of them, once.
func consumeTogether(url string, count, batch, members int, out *result) {
	seen := make([]int32, count)
	var total int64
	var duplicates int64
	var group sync.WaitGroup
	for i := 0; i < members; i++ {
		connection, err := nats.Connect(url)
		must(err)
		js, err := connection.JetStream()
		must(err)
		sub, err := js.PullSubscribe("s0", "bench", nats.AckExplicit(), nats.MaxAckPending(20000))
		must(err)
		group.Add(1)
		go func() {
			defer group.Done()
			for atomic.LoadInt64(&total) < int64(count) {
				messages, err := sub.Fetch(batch, nats.MaxWait(time.Second))
				if err == nats.ErrTimeout {
					continue
				}
				must(err)
				for _, m := range messages {
					number := binary.LittleEndian.Uint64(m.Data)
					if !atomic.CompareAndSwapInt32(&seen[number], 0, 1) {
						atomic.AddInt64(&duplicates, 1)
					}
					must(m.Ack())
					atomic.AddInt64(&total, 1)
				}
			}
			must(connection.Flush())
		}()
	}
	group.Wait()
	out.Duplicates = int(duplicates)
}

func main() {
	work := os.Args[1]
	flags := flag.NewFlagSet(work, flag.ExitOnError)
	url := flags.String("url", "nats://127.0.0.1:4222", "")
	count := flags.Int("count", 100000, "")
	size := flags.Int("size", 100, "")
	inflight := flags.Int("inflight", 500, "")
	streams := flags.Int("streams", 1, "")
	batch := flags.Int("batch", 500, "")
	members := flags.Int("members", 1, "")
	must(flags.Parse(os.Args[2:]))

	connection, err := nats.Connect(*url)
	must(err)
	defer connection.Close()
	js, err := connection.JetStream(nats.PublishAsyncMaxPending(*inflight))
	must(err)
	out := result{Work: work, Count: *count}
	var latencies []float64
	payload := make([]byte, *size)
	start := time.Now()

	switch work {
	case "ensure":
		for s := 0; s < *streams; s++ {
			_, err := js.AddStream(&nats.StreamConfig{Name: fmt.Sprintf("s%d", s), Subjects: []string{fmt.Sprintf("s%d", s)}, Storage: nats.FileStorage})
			must(err)
		}
	case "publish":
		if *inflight <= 1 {
			for i := 0; i < *count; i++ {
				binary.LittleEndian.PutUint64(payload, uint64(i))
				t := time.Now()
				_, err := js.Publish(fmt.Sprintf("s%d", i%*streams), payload)
				must(err)
				latencies = append(latencies, float64(time.Since(t).Nanoseconds())/1000)
			}
		} else {
			subjects := make([]string, *streams)
			for s := range subjects {
				subjects[s] = fmt.Sprintf("s%d", s)
			}
			for i := 0; i < *count; i++ {
				body := make([]byte, *size)
				binary.LittleEndian.PutUint64(body, uint64(i))
				_, err := js.PublishAsync(subjects[i%*streams], body)
				must(err)
			}
			select {
			case <-js.PublishAsyncComplete():
			case <-time.After(60 * time.Second):
				must(fmt.Errorf("no answer to %d publishes", js.PublishAsyncPending()))
			}
		}
	case "consume":
		if *members > 1 {
			consumeTogether(*url, *count, *batch, *members, &out)
			break
		}
		sub, err := js.PullSubscribe("s0", "bench", nats.AckExplicit(), nats.MaxAckPending(20000))
		must(err)
		seen := 0
		next := uint64(0)
		start = time.Now()
		for seen < *count {
			messages, err := sub.Fetch(*batch, nats.MaxWait(5*time.Second))
			must(err)
			for _, m := range messages {
				if binary.LittleEndian.Uint64(m.Data) != next {
					out.OutOfOrder++
				}
				next = binary.LittleEndian.Uint64(m.Data) + 1
				must(m.Ack())
				seen++
			}
		}
		must(connection.Flush())
	case "read":
		seen := 0
		next := uint64(0)
		done := make(chan bool)
		start = time.Now()
		_, err := js.Subscribe("s0", func(m *nats.Msg) {
			if binary.LittleEndian.Uint64(m.Data) != next {
				out.OutOfOrder++
			}
			next = binary.LittleEndian.Uint64(m.Data) + 1
			seen++
			if seen == *count {
				close(done)
			}
		}, nats.OrderedConsumer())
		must(err)
		select {
		case <-done:
		case <-time.After(120 * time.Second):
			out.Lost = *count - seen
		}
	default:
		must(fmt.Errorf("unknown work %q", work))
	}
	out.Seconds = time.Since(start).Seconds()
	out.Rate = float64(*count) / out.Seconds
	out.MBps = out.Rate * float64(*size) / 1e6
	out.P50 = percentile(latencies, 0.5)
	out.P99 = percentile(latencies, 0.99)
	must(json.NewEncoder(os.Stdout).Encode(out))
}
