package fleet

import "time"

// Mode is what a platform does with the hub.
type Mode string

// The modes. All but Healthy are bad.
const (
	Healthy   Mode = ""
	Silent    Mode = "silent"    // describes itself and never answers a question
	Mute      Mode = "mute"      // accepts connections and says nothing, not even in TLS
	Drip      Mode = "drip"      // writes one byte in a second from the first byte on
	DripLater Mode = "dripLater" // the same once a connection has carried 8 KiB
	Flood     Mode = "flood"     // answers every question with hundreds of kilobytes
	FloodMore Mode = "floodMore" // answers every question with 64 MiB
	Frames    Mode = "frames"    // sends HTTP/2 pings without end and answers nothing
)

// Behaviour is how a platform answers. The zero value answers at once.
type Behaviour struct {
	Mode      Mode          `json:"mode,omitempty"`
	Delay     time.Duration `json:"delay,omitempty"`    // of a usual answer
	Share     float64       `json:"share,omitempty"`    // of the answers that straggle, 0 to 1
	Straggler time.Duration `json:"straggle,omitempty"` // their delay
}

// Site is what a hub needs to reach a fleet. It holds a private key and goes
// through pipes only.
type Site struct {
	TrustDomain string    `json:"trustDomain"`
	CAPEM       []byte    `json:"ca"`
	CertPEM     []byte    `json:"cert"`
	KeyPEM      []byte    `json:"key"`
	Platforms   []Address `json:"platforms"`
}

// Address is where a platform listens.
type Address struct {
	ID      string `json:"id"`
	Address string `json:"address"`
}

// Totals are what the platforms counted since they started.
type Totals struct {
	Served int64 `json:"served"` // questions that reached a sound platform, whatever became of them
	Sent   int64 `json:"sent"`   // bytes written to hubs
}

// The lines between a fleet and its processes: one opening, then commands and
// their replies in turn.
type (
	opening struct {
		TrustDomain string  `json:"trustDomain"`
		CAPEM       []byte  `json:"ca"`
		Platforms   []paper `json:"platforms"`
	}
	paper struct {
		ID      string `json:"id"`
		Seed    uint64 `json:"seed"`
		CertPEM []byte `json:"cert"`
		KeyPEM  []byte `json:"key"`
	}
	command struct {
		Platforms []string   `json:"platforms,omitempty"` // empty: all
		Set       *Behaviour `json:"set,omitempty"`
	}
	reply struct {
		Platforms []Address `json:"platforms,omitempty"` // to the opening
		Totals
		Problem string `json:"problem,omitempty"`
	}
)
