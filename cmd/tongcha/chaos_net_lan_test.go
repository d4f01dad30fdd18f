//go:build chaos

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tongcha/tongcha/connectors/sdk"
)

// lan is a hub and connectors, each in a network namespace of its own: a cable from
// the hub to every connector, and nothing else.
type lan struct {
	t      *testing.T
	spaces int
	hub    string // namespace
	sites  []*site
}

// site is a connector in its namespace.
type site struct {
	id, ns  string
	link    string // the cable's name, in both namespaces
	address string // HOST:PORT
	dir     string // of what it remembers
	process *hub

	fault       fault
	outage      time.Duration
	cut, healed time.Time
	ended       int           // orders, since it was cut off
	first, last time.Duration // of them, after the healing
}

// newLAN makes the hub's namespace.
func newLAN(t *testing.T) *lan {
	t.Helper()
	for _, tool := range []string{"ip", "iptables"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%v: the Debian packages iproute2 and iptables are needed", err)
		}
	}
	n := &lan{t: t}
	n.sweep()
	n.hub = n.namespace()
	return n
}

// sweep takes away what tests left that were killed themselves.
func (n *lan) sweep() {
	n.t.Helper()
	names, _ := filepath.Glob("/run/netns/tongcha-*")
	for _, name := range names {
		parts := strings.Split(filepath.Base(name), "-")
		if _, err := os.Stat("/proc/" + parts[1]); os.IsNotExist(err) {
			n.run("ip", "netns", "delete", filepath.Base(name))
		}
	}
}

// namespace makes one that is gone with the test, whatever becomes of it.
func (n *lan) namespace() string {
	n.t.Helper()
	n.spaces++
	name := fmt.Sprintf("tongcha-%d-%d", os.Getpid(), n.spaces) // the machine's other tests have names of their own
	n.run("ip", "netns", "add", name)
	n.t.Cleanup(func() { n.run("ip", "netns", "delete", name) })
	n.run("ip", "-n", name, "link", "set", "lo", "up")
	return name
}

// run runs a tool that needs root.
func (n *lan) run(args ...string) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
		n.t.Errorf("%v needs root and Linux: %v %s", args, err, out)
		n.t.FailNow()
	}
}

// inNamespace makes a command run in a namespace; its process is the command's own,
// and ends with the test's, whatever ends that.
func inNamespace(ns string, cmd *exec.Cmd) *exec.Cmd {
	inside := exec.Command("ip", append([]string{"netns", "exec", ns}, cmd.Args...)...)
	inside.Args[4] = cmd.Path
	inside.Dir, inside.Env = cmd.Dir, cmd.Env
	// In a group of its own: the kernel wakes stopped ones of a group that loses its shell.
	inside.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	return inside
}

// filter changes a namespace's packet filter.
func (n *lan) filter(ns string, args ...string) {
	n.t.Helper()
	n.run(append([]string{"ip", "netns", "exec", ns, "iptables"}, args...)...)
}

// drop lets nothing arrive over the link any more.
func (n *lan) drop(ns, link string) {
	n.t.Helper()
	n.filter(ns, "-I", "INPUT", "-i", link, "-j", "DROP")
}

// pass ends it.
func (n *lan) pass(ns, link string) {
	n.t.Helper()
	n.filter(ns, "-D", "INPUT", "-i", link, "-j", "DROP")
}

// signal sends a signal to the connector.
func (n *lan) signal(s *site, which syscall.Signal) {
	n.t.Helper()
	if err := s.process.cmd.Process.Signal(which); err != nil {
		n.t.Fatal(err)
	}
}

// startHub starts a hub in its namespace, for people with numbers of their own. The
// test's requests begin there too.
func (n *lan) startHub(people int) (*hub, *town) {
	n.t.Helper()
	w := new(town)
	holders := "phone_number,id_suffix,holder_since\n"
	for i := range people {
		number := fmt.Sprintf("1380000%04d", 1000+i)
		w.people = append(w.people, townsman{number: number})
		holders += number + "," + townSuffix + ",2020-01-01\n"
	}
	data := filepath.Join(n.t.TempDir(), "data")
	h := launch(n.t, inNamespace(n.hub, command(n.t, "dev", "--data", data, "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0",
		"--holders", write(n.t, "holders.csv", holders))), data)
	h.base = h.line(0, `^  REST     (http://\S+)`)[1]
	before := client.Transport
	inside := &http.Transport{DialContext: n.dial, MaxIdleConnsPerHost: 16}
	client.Transport = inside
	n.t.Cleanup(func() { client.Transport = before; inside.CloseIdleConnections() })
	return h, w
}

// dial connects in the hub's namespace: a socket stays in the one in which it was
// made, which is its thread's.
func (n *lan) dial(ctx context.Context, network, address string) (net.Conn, error) {
	runtime.LockOSThread() // not unlocked where the way back fails: the thread ends then
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	defer home.Close()
	there, err := os.Open("/run/netns/" + n.hub)
	if err != nil {
		return nil, err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		return nil, back
	}
	runtime.UnlockOSThread()
	return conn, err
}

// newSite makes a connector with a cable to the hub, and joins it.
func (n *lan) newSite(h *hub, f fault, outage time.Duration) {
	n.t.Helper()
	i := len(n.sites) + 1
	id := fmt.Sprintf("%s-%d", f.name, i)
	s := &site{id: id, fault: f, outage: outage, ns: n.namespace(), link: fmt.Sprintf("tc%d-%d", os.Getpid(), i), dir: n.t.TempDir()}
	here, there := fmt.Sprintf("10.213.%d.1/24", i), fmt.Sprintf("10.213.%d.2", i)
	s.address = there + ":9443"
	n.run("ip", "-n", n.hub, "link", "add", s.link, "type", "veth", "peer", "name", s.link, "netns", s.ns)
	n.run("ip", "-n", n.hub, "address", "add", here, "dev", s.link)
	n.run("ip", "-n", s.ns, "address", "add", there+"/24", "dev", s.link)
	n.run("ip", "-n", n.hub, "link", "set", s.link, "up")
	n.run("ip", "-n", s.ns, "link", "set", s.link, "up")
	certs := filepath.Join(s.dir, "certs")
	h.cli("platform", "cert", id, "--out", certs).must(n.t)
	cmd := command(n.t, "-test.run", "^TestNetConnector$", "-test.count=1")
	cmd.Env = append(cmd.Env, asCommand+"=", asConnector+"="+id, "CONNECTOR_DIR="+s.dir, "CONNECTOR_ADDRESS="+s.address)
	s.process = launch(n.t, inNamespace(s.ns, cmd), "")
	s.process.line(0, `^listening$`)
	h.cli("platform", "add", id, "--address", s.address, "--name", id, "--category", "实用工具").must(n.t)
	n.sites = append(n.sites, s)
}

// site is the one of that id.
func (n *lan) site(id string) *site {
	return n.sites[slices.IndexFunc(n.sites, func(s *site) bool { return s.id == id })]
}

const asConnector = "TEST_AS_CONNECTOR"

// TestNetConnector is no test: it is the connector, in a process of its own.
func TestNetConnector(t *testing.T) {
	id, dir := os.Getenv(asConnector), os.Getenv("CONNECTOR_DIR")
	if id == "" {
		t.Skip("only started by other tests")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	l, err := net.Listen("tcp", os.Getenv("CONNECTOR_ADDRESS"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("listening")
	certs := filepath.Join(dir, "certs")
	err = sdk.Serve(ctx, sdk.Config{
		PlatformID: id, Listener: l, OrderJournal: filepath.Join(dir, "orders"),
		CertFile: filepath.Join(certs, "cert.pem"), KeyFile: filepath.Join(certs, "key.pem"), CAFile: filepath.Join(certs, "ca.pem"),
	}, &netShop{effects: filepath.Join(dir, "effects.ndjson")})
	if err != nil {
		t.Fatal(err)
	}
}

// netShop has one old account on every number.
type netShop struct {
	effects string
	mu      sync.Mutex
}

// Lookup implements sdk.Handler.
func (s *netShop) Lookup(_ context.Context, who sdk.Subject) (sdk.Answer, error) {
	return sdk.Found(sdk.Account{Ref: "u-" + strconv.Itoa(len(who.PhoneNumber)), Product: "账号", BoundAt: time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC)}), nil
}

// Unbind implements sdk.Handler.
func (s *netShop) Unbind(_ context.Context, o sdk.Order) (sdk.Outcome, error) {
	if err := noted(s.effects, &s.mu, o.ID); err != nil {
		return sdk.Outcome{}, err
	}
	return sdk.Completed(), nil
}
