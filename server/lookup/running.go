package lookup

// Running is how many lookups wait for platforms, or for their last answer to be
// on disk.
func (s *Service) Running() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.live)
}
