package platform

import "time"

// Counts adds up what was asked of a platform since it joined.
type Counts struct {
	Asked  int64 // calls
	Sent   int64 // questions over the wire, hedges and repeats too
	Hedged int64 // second copies of slow questions
	Frames int64 // calls or frames that carried them
}

// Load is how busy a platform is, as the hub sees it.
type Load struct {
	Breaker string    // "CLOSED", "OPEN" (it is not asked) or "HALF_OPEN" (one question decides)
	Until   time.Time // OPEN: when the next question may go; else zero
	Waiting int       // calls not sent yet
	Open    int       // questions sent and not answered
	Limit   int       // questions that may be open, as it is now
	P95     time.Duration
	Stream  bool // lookups go over a stream
	Counts  Counts
}
