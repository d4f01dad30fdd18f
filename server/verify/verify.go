// Package verify proves that a person has a number in hand, by a code sent to
// it, and keeps the sessions that follow from the proof.
package verify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/tongcha/tongcha/server/fault"
	"github.com/tongcha/tongcha/server/phone"
	"github.com/tongcha/tongcha/server/platform"
)

// CodeLength is how many digits a code has.
const CodeLength = 6

// ConsentVersion is the version of the consent text in force.
const ConsentVersion = "1"

// The scopes a person can agree to.
const (
	ScopeLookup = "LOOKUP"
	ScopeUnbind = "UNBIND"
)

// Limits bounds what can be tried.
type Limits struct {
	Resend        time.Duration // between two codes to one number
	CodeLife      time.Duration
	Tries         int // wrong codes per number within CodeLife, whichever code
	CodesPerDay   int // codes per number and 24 h
	AddressPerDay int // codes per client address and 24 h
	SuffixPerDay  int // right codes with a wrong suffix, per number and 24 h
	SuffixPerMon  int // the same per 30 d
	SessionIdle   time.Duration
	SessionLife   time.Duration
}

// DefaultLimits are those of production.
func DefaultLimits() Limits {
	return Limits{
		Resend: time.Minute, CodeLife: 300 * time.Second, Tries: 5, CodesPerDay: 10, AddressPerDay: 500,
		SuffixPerDay: 5, SuffixPerMon: 10, SessionIdle: 5 * time.Minute, SessionLife: 15 * time.Minute,
	}
}

// Sender hands a code over for delivery.
type Sender interface {
	// SendCode sends the code. An error means that it was not sent, unless it is
	// ErrMaybeSent. After a timeout a sender returns nil, since the code may arrive.
	SendCode(ctx context.Context, to phone.Number, code Code, life time.Duration) error
}

// ErrMaybeSent is a failure after which the message may have gone out all the
// same: it counts against the limits, or a gateway that fails after sending would
// make messages free.
var ErrMaybeSent = errors.New("the message may have been sent")

// Verification is a code that was sent.
type Verification struct {
	ID          string
	Number      phone.Number
	NumberIndex phone.Index
	Address     [32]byte // keyed digest of the client's address
	Suffix      phone.IDSuffix
	CodeDigest  [32]byte
	Consent     Consent
	CreateTime  time.Time
	ExpireTime  time.Time
}

// Consent is what the person agreed to.
type Consent struct {
	Version    string
	Scopes     []string
	Recipients []string // the platforms named to the person
}

// Session is an open session.
type Session struct {
	Key         [32]byte // digest of the token
	Subject     phone.Subject
	Number      phone.Number
	NumberIndex phone.Index
	Suffix      phone.IDSuffix
	HolderSince time.Time // zero where no carrier attested it
	Consent     Consent
	CreateTime  time.Time
	ExpireTime  time.Time
}

// Agreed reports whether the person agreed to the scope.
func (s Session) Agreed(scope string) bool { return slices.Contains(s.Consent.Scopes, scope) }

// Confirmation is one try to confirm a verification. Session is what opens if
// it succeeds.
type Confirmation struct {
	ID          string
	CodeDigest  [32]byte
	Attestation platform.Attestation
	Session     Session
	Now         time.Time
}

// Verdict is what became of a try.
type Verdict struct {
	OK           bool
	AttemptsLeft int
	RetryAfter   time.Duration // with no try left: until a new code can be had
}

// Store keeps verifications and sessions. Every method is one transaction and
// durable when it returns.
type Store interface {
	// OpenVerification checks the limits, counts, and records a verification.
	// Errors: fault.CodeResendTooSoon, fault.DailyLimit, both with a retry time.
	OpenVerification(context.Context, Verification, Limits) error
	// WithdrawVerification undoes OpenVerification for a code that was not sent.
	WithdrawVerification(ctx context.Context, id string) error
	// GetVerification returns a verification that can still be confirmed, or
	// fault.VerificationFailed with the attempts that are left.
	GetVerification(ctx context.Context, id string, now time.Time, l Limits) (Verification, error)
	// Confirm compares the code and spends a try if anything is wrong; if all is
	// right it uses the code up and opens the session. Of many calls for one code
	// at most one succeeds, and from outside a wrong suffix looks like a wrong code.
	Confirm(context.Context, Confirmation, Limits) (Verdict, error)
	// TouchSession returns the session and renews its idle time.
	// Errors: fault.SessionInvalid.
	TouchSession(ctx context.Context, key [32]byte, now time.Time, idle time.Duration) (Session, error)
}

// Service proves numbers. It is safe for concurrent use.
type Service struct {
	store   Store
	sender  Sender
	carrier platform.Carrier // nil: no carrier is configured
	mac     phone.MAC
	limits  Limits
	floor   time.Duration
	log     *slog.Logger
	now     func() time.Time
}

// Options configures a Service.
type Options struct {
	Store   Store
	Sender  Sender
	Carrier platform.Carrier // may be nil
	MAC     phone.MAC
	Limits  Limits
	// Floor is the least time Confirm takes, so that its time does not tell
	// which check failed.
	Floor  time.Duration
	Logger *slog.Logger
	Now    func() time.Time // the hub's clock; nil: time.Now
}

// New returns a Service.
func New(o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Service{store: o.Store, sender: o.Sender, carrier: o.Carrier, mac: o.MAC, limits: o.Limits, floor: o.Floor, log: o.Logger, now: o.Now}
}

// Request asks for a code.
type Request struct {
	Number  phone.Number
	Suffix  phone.IDSuffix
	Consent Consent
	Address string
}

// Created is a code on its way.
type Created struct {
	ID          string
	ResendAfter time.Duration
	ExpireTime  time.Time
}

// Create sends a code. The outcome does not depend on the suffix.
//
// Errors: fault.ConsentRequired, CodeResendTooSoon, DailyLimit, SMSUnavailable.
func (s *Service) Create(ctx context.Context, r Request) (Created, error) {
	if r.Consent.Version != ConsentVersion || !slices.Contains(r.Consent.Scopes, ScopeLookup) {
		return Created{}, fault.ConsentRequired.On("consent")
	}
	now := s.now()
	v, code := s.newVerification(r, now)
	if err := s.store.OpenVerification(ctx, v, s.limits); err != nil {
		return Created{}, fmt.Errorf("open verification: %w", err)
	}
	if err := s.sender.SendCode(ctx, r.Number, code, s.limits.CodeLife); err != nil {
		s.log.WarnContext(ctx, "code not sent", "error", err)
		if errors.Is(err, ErrMaybeSent) {
			return Created{}, fault.SMSUnavailable.Wrap(err).WithRetry(s.limits.Resend)
		}
		// The person may ask again at once, whether or not they are still there.
		if werr := s.store.WithdrawVerification(context.WithoutCancel(ctx), v.ID); werr != nil {
			s.log.ErrorContext(ctx, "unsent code not withdrawn", "error", werr)
		}
		return Created{}, fault.SMSUnavailable.Wrap(err).WithRetry(s.limits.Resend)
	}
	return Created{ID: v.ID, ResendAfter: s.limits.Resend, ExpireTime: v.ExpireTime}, nil
}

// Opened is a session that was just opened.
type Opened struct {
	Token   Token
	Session Session
}

// Confirm takes the code. Code and suffix are both always checked, and one error
// stands for every way to fail.
//
// Errors: fault.VerificationFailed with metadata attemptsLeft, fault.CarrierUnavailable.
func (s *Service) Confirm(ctx context.Context, id string, code Code) (Opened, error) {
	wait := time.NewTimer(s.floor)
	defer wait.Stop()
	opened, err := s.confirm(ctx, id, code)
	select {
	case <-wait.C:
	case <-ctx.Done():
	}
	return opened, err
}

func (s *Service) confirm(ctx context.Context, id string, code Code) (Opened, error) {
	v, err := s.store.GetVerification(ctx, id, s.now(), s.limits)
	if err != nil {
		return Opened{}, fmt.Errorf("get verification: %w", err)
	}
	attested, since, err := s.attest(ctx, v.Number, v.Suffix)
	if err != nil {
		return Opened{}, err
	}
	now := s.now()
	token := NewToken()
	session := Session{
		Key: token.digest(s.mac), Subject: phone.SubjectOf(s.mac, v.Number, v.Suffix), Number: v.Number,
		NumberIndex: v.NumberIndex, Suffix: v.Suffix, HolderSince: since, Consent: v.Consent,
		CreateTime: now, ExpireTime: now.Add(s.limits.SessionLife),
	}
	verdict, err := s.store.Confirm(ctx, Confirmation{
		ID: id, CodeDigest: code.digest(s.mac, id), Attestation: attested, Session: session, Now: now,
	}, s.limits)
	if err != nil {
		return Opened{}, fmt.Errorf("confirm: %w", err)
	}
	if !verdict.OK {
		return Opened{}, Failed(verdict)
	}
	return Opened{Token: token, Session: session}, nil
}

// attest asks the carrier. Without one nothing is attested; a carrier that
// can't be reached is never taken for a match.
func (s *Service) attest(ctx context.Context, n phone.Number, suffix phone.IDSuffix) (platform.Attestation, time.Time, error) {
	if s.carrier == nil {
		return platform.AttestUnknown, time.Time{}, nil
	}
	a, since, err := s.carrier.Attest(ctx, n, suffix)
	if err != nil {
		return 0, time.Time{}, fault.CarrierUnavailable.Wrap(err).WithRetry(5 * time.Second)
	}
	if a != platform.AttestMatch {
		since = time.Time{}
	}
	return a, since, nil
}

// Session returns the open session of a token.
//
// Errors: fault.SessionInvalid.
func (s *Service) Session(ctx context.Context, t Token) (Session, error) {
	if !t.wellFormed() {
		return Session{}, fault.SessionInvalid.New()
	}
	session, err := s.store.TouchSession(ctx, t.digest(s.mac), s.now(), s.limits.SessionIdle)
	if err != nil {
		return Session{}, fmt.Errorf("touch session: %w", err)
	}
	return session, nil
}

// StillHolder asks the carrier once more whether the session's person holds the
// number. It is fault.SessionInvalid when the number is somebody else's now; a
// carrier that can't be asked leaves the answer of at most 15 minutes ago.
func (s *Service) StillHolder(ctx context.Context, session Session) error {
	a, since, err := s.attest(ctx, session.Number, session.Suffix)
	if err != nil {
		s.log.WarnContext(ctx, "holder not checked again", "error", err)
		return nil
	}
	changed := a == platform.AttestMatch && !session.HolderSince.IsZero() && !since.Equal(session.HolderSince)
	if a == platform.AttestMismatch || changed {
		return fault.SessionInvalid.New()
	}
	return nil
}
