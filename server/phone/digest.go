package phone

// Index is the keyed digest of a number, by which records of the number are
// found again without it. Without the key it says nothing.
type Index [32]byte

// Subject is the keyed digest of a number together with the person on it. The
// next holder of the number is another Subject.
type Subject [32]byte

// MAC makes keyed digests. Sum must separate its parts unambiguously, and two
// purposes must give unrelated digests. It must be safe for concurrent use.
type MAC interface {
	Sum(purpose string, parts ...[]byte) [32]byte
}

// IndexOf is the index of n.
func IndexOf(m MAC, n Number) Index {
	return m.Sum("number", []byte(n.E164()))
}

// SubjectOf is the person with suffix s on n.
func SubjectOf(m MAC, n Number, s IDSuffix) Subject {
	return m.Sum("subject", []byte(n.E164()), []byte(s.document), []byte(s.value))
}
