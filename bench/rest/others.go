package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// openPlain starts the net/http aggregator in a process of its own.
func (b *bench) openPlain(platforms []place) (arm, error) {
	var at string
	if _, err := b.start("plain", platforms, &at); err != nil {
		return arm{}, err
	}
	return b.oneGet("net/http aggregator", "http://"+at+"/"), nil
}

// oneGet is an arm whose lookup is a single request.
func (b *bench) oneGet(name, url string) arm {
	c := newClient(b.clients)
	return arm{name, func(int) ([]byte, error) { return fetch(c, http.MethodGet, url, "", nil) }}
}

// plainMain is the aggregator that one would write first: for each lookup one
// goroutine and one request per platform.
func plainMain(in *json.Decoder, out *json.Encoder) error {
	var platforms []place
	if err := in.Decode(&platforms); err != nil {
		return err
	}
	c := newClient(1000)
	at, err := listen(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		rows := make([]*row, len(platforms))
		var all sync.WaitGroup
		for i, p := range platforms {
			all.Go(func() {
				answer, err := fetch(c, http.MethodGet, "http://"+p.HTTP+"/", "", nil)
				if r := new(row); err == nil && json.Unmarshal(answer, r) == nil {
					rows[i] = r
				}
			})
		}
		all.Wait()
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"asked": len(rows), "answers": rows})
	}))
	if err != nil {
		return err
	}
	if err := out.Encode(at); err != nil {
		return err
	}
	untilEOF(in)
	return nil
}

var errNoNginx = errors.New("no nginx")

// openNginx starts nginx with a page that includes every platform's answer. The
// includes run at the same time, over connections that are kept.
func (b *bench) openNginx(platforms []place) (arm, error) {
	binary, err := exec.LookPath("nginx")
	if err != nil {
		if binary = "/usr/sbin/nginx"; !isFile(binary) {
			return arm{}, errNoNginx
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // nginx can't say which port it took, so it is given a free one
	if err != nil {
		return arm{}, err
	}
	at := l.Addr().String()
	if err := errors.Join(l.Close(), b.writeNginx(at, platforms)); err != nil {
		return arm{}, err
	}
	p := &process{cmd: exec.Command(binary, "-p", b.dir, "-c", b.file("nginx.conf"), "-e", b.file("nginx.log")), done: make(chan error, 1)}
	if err := b.run(p); err != nil {
		return arm{}, err
	}
	a := b.oneGet("nginx SSI", "http://"+at+"/lookup.json")
	for range 100 {
		if _, err = a.look(0); err == nil {
			return a, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	log, _ := os.ReadFile(b.file("nginx.log"))
	return arm{}, fmt.Errorf("it does not answer: %w\n%s", err, log)
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// writeNginx writes the page and the configuration, for as many workers as there
// are processors.
func (b *bench) writeNginx(at string, platforms []place) error {
	var upstreams, locations, includes []string
	for i, p := range platforms {
		upstreams = append(upstreams, fmt.Sprintf("upstream p%d { server %s; keepalive %d; keepalive_requests 1000000000; }", i, p.HTTP, b.clients))
		locations = append(locations, fmt.Sprintf("location = /p/%d { internal; proxy_pass http://p%d/; }", i, i))
		includes = append(includes, fmt.Sprintf(`<!--# include virtual="/p/%d" -->`, i))
	}
	page := fmt.Sprintf(`{"asked":%d,"answers":[%s]}`, len(platforms), strings.Join(includes, ","))
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;" // the workers read this run's folder
	}
	conf := fmt.Sprintf(`daemon off; %s
worker_processes auto;
pid nginx.pid;
events { worker_connections 16384; }
http {
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  keepalive_requests 1000000000;
  proxy_http_version 1.1;
  proxy_set_header Connection "";
  types { application/json json; }
  ssi_types application/json;
  %s
  server {
    listen %s;
    location = /lookup.json { root %s; ssi on; }
    %s
  }
}
`, user, strings.Join(upstreams, "\n  "), at, b.dir, strings.Join(locations, "\n    "))
	return errors.Join(os.WriteFile(b.file("lookup.json"), []byte(page), 0o600), os.WriteFile(b.file("nginx.conf"), []byte(conf), 0o600))
}
