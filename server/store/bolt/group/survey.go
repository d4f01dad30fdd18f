package group

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
)

// A survey reads a file's pages with plain reads and believes nothing in them.
// bbolt follows what a damaged page says through its memory map, out of the file
// and into a signal that ends the process, so no page of a file that may be
// damaged is shown to it before.

// The kinds of page, and the numbers that bbolt writes.
const (
	branchPage   = 0x01
	leafPage     = 0x02
	metaPage     = 0x04
	freePage     = 0x10
	bucketRecord = 0x01 // of a record in a leaf
	magicNumber  = 0xED0CDAED
	formatNumber = 2
	noFreelist   = ^uint64(0)
	metaSize     = 64
	maxDepth     = 64
	maxProblems  = 100 // of one bucket; more say nothing new
)

// meta is a page that says where all else is.
type meta struct {
	pageSize             uint32
	root, freelist, high uint64
	txid                 uint64
}

// survey is a walk over the pages of one file.
type survey struct {
	ctx      context.Context
	file     io.ReaderAt
	meta     meta
	seen     []uint64 // bits: pages that were reached
	reached  int64
	progress func(done, total int64)
	out      *Pages
	bucket   *BucketPages // nil in the root, whose records are the buckets
}

// surveyFile walks the file. Its error is one of reading, or the context's; what is
// wrong in the pages is in the result.
func surveyFile(ctx context.Context, file io.ReaderAt, size int64, progress func(done, total int64)) (Pages, error) {
	out := Pages{FileSize: size}
	m, problems := readMetas(file, size)
	out.Problems = problems
	if m == nil {
		return out, nil
	}
	out.PageSize, out.Size = int(m.pageSize), int64(m.high)*int64(m.pageSize)
	if m.high > uint64(size)/uint64(m.pageSize) {
		out.Problems = append(out.Problems, fmt.Sprintf("the file is cut off: it has %d bytes of %d", size, out.Size))
		return out, nil
	}
	s := &survey{ctx: ctx, file: file, meta: *m, seen: make([]uint64, m.high/64+1), progress: progress, out: &out}
	s.mark(0, 1)
	if err := s.freelist(); err != nil {
		return out, err
	}
	if err := s.walk(m.root, 0, nil, nil); err != nil {
		return out, err
	}
	out.Free = (int64(m.high) - s.reached) * int64(m.pageSize)
	return out, nil
}

// readMetas returns the newer of the two metas that is whole, or nil.
func readMetas(file io.ReaderAt, size int64) (*meta, []string) {
	var problems []string
	var best *meta
	for i := range int64(2) {
		m := readMeta(file, size, i, best)
		switch {
		case m == nil:
			problems = append(problems, fmt.Sprintf("page %d, one of the two that say where all else is, is damaged", i))
		case best == nil || m.txid > best.txid:
			best = m
		}
	}
	return best, problems
}

// readMeta reads the meta of page i. The second one lies where the first says, or
// behind a page of a usual size where the first is damaged. bbolt goes by the first
// one's size of a page whatever the second says, so one that says another is damaged.
func readMeta(file io.ReaderAt, size, i int64, first *meta) *meta {
	if i == 0 {
		return metaAt(file, 0, 0)
	}
	if first != nil {
		if m := metaAt(file, int64(first.pageSize), 1); m != nil && m.pageSize == first.pageSize {
			return m
		}
		return nil
	}
	for at := int64(1 << 10); at <= 1<<16 && at < size; at <<= 1 {
		if m := metaAt(file, at, 1); m != nil && int64(m.pageSize) == at {
			return m
		}
	}
	return nil
}

func metaAt(file io.ReaderAt, at int64, id uint64) *meta {
	b := make([]byte, headerSize+metaSize)
	if _, err := file.ReadAt(b, at); err != nil {
		return nil
	}
	e := binary.NativeEndian
	body := b[headerSize:]
	sum := fnv.New64a()
	_, _ = sum.Write(body[:metaSize-8])
	size := e.Uint32(body[8:])
	if e.Uint64(b) != id || e.Uint16(b[8:]) != metaPage || e.Uint32(body) != magicNumber || e.Uint32(body[4:]) != formatNumber ||
		sum.Sum64() != e.Uint64(body[56:]) || size < 1<<9 || size&(size-1) != 0 {
		return nil
	}
	return &meta{pageSize: size, root: e.Uint64(body[16:]), freelist: e.Uint64(body[32:]), high: e.Uint64(body[40:]), txid: e.Uint64(body[48:])}
}

// problem notes what is wrong with the bucket that is being walked.
func (s *survey) problem(format string, args ...any) {
	list := &s.out.Problems
	if s.bucket != nil {
		list = &s.bucket.Problems
	}
	if len(*list) < maxProblems {
		*list = append(*list, fmt.Sprintf(format, args...))
	}
}

// mark notes that pages from first to last are reached; false where one was before
// or lies outside.
func (s *survey) mark(first, last uint64) bool {
	if last < first || last >= s.meta.high {
		s.problem("page %d is outside of the file", first)
		return false
	}
	for id := first; id <= last; id++ {
		if s.seen[id/64]&(1<<(id%64)) != 0 {
			s.problem("page %d is used twice", id)
			return false
		}
		s.seen[id/64] |= 1 << (id % 64)
		s.reached++
	}
	if s.progress != nil {
		s.progress(s.reached*int64(s.meta.pageSize), int64(s.meta.high)*int64(s.meta.pageSize))
	}
	return true
}

// page reads a page with those that belong to it; nil where it is damaged.
func (s *survey) page(id uint64) ([]byte, error) {
	if err := s.ctx.Err(); err != nil {
		return nil, context.Cause(s.ctx)
	}
	if id < 2 || id >= s.meta.high {
		s.problem("page %d is outside of the file", id)
		return nil, nil
	}
	size := int64(s.meta.pageSize)
	b := make([]byte, size)
	if _, err := s.file.ReadAt(b, int64(id)*size); err != nil {
		return nil, fmt.Errorf("store: read page %d: %w", id, err)
	}
	more := uint64(binary.NativeEndian.Uint32(b[12:]))
	if own := binary.NativeEndian.Uint64(b); own != id {
		s.problem("page %d says that it is page %d", id, own)
		return nil, nil
	}
	if !s.mark(id, id+more) {
		return nil, nil
	}
	if more == 0 {
		return b, nil
	}
	b = make([]byte, size*int64(1+more))
	if _, err := s.file.ReadAt(b, int64(id)*size); err != nil {
		return nil, fmt.Errorf("store: read page %d: %w", id, err)
	}
	return b, nil
}

// freelist checks the list of free pages of a file that has one.
func (s *survey) freelist() error {
	if s.meta.freelist == noFreelist {
		return nil
	}
	b, err := s.page(s.meta.freelist)
	if b == nil || err != nil {
		return err
	}
	e := binary.NativeEndian
	n, at := uint64(e.Uint16(b[10:])), uint64(headerSize)
	if n == 0xffff {
		n, at = e.Uint64(b[at:]), at+8
	}
	if e.Uint16(b[8:]) != freePage || n > (uint64(len(b))-at)/8 {
		s.problem("page %d, the list of free pages, is damaged", s.meta.freelist)
		return nil
	}
	for i := range n {
		if id := e.Uint64(b[at+8*i:]); id < 2 || id >= s.meta.high {
			s.problem("page %d is said to be free and is outside of the file", id)
		}
	}
	return nil
}

// walk checks the tree below a page, whose keys are not below low and, unless it
// is nil, below high.
func (s *survey) walk(id uint64, depth int, low, high []byte) error {
	if depth == maxDepth {
		s.problem("page %d lies too deep", id)
		return nil
	}
	b, err := s.page(id)
	if b == nil || err != nil {
		return err
	}
	switch binary.NativeEndian.Uint16(b[8:]) {
	case branchPage:
		return s.branch(id, b, depth, low, high)
	case leafPage:
		if s.bucket != nil {
			s.bucket.Leaves += int64(len(b)) / int64(s.meta.pageSize)
			s.bucket.Allocated += int64(len(b))
		}
		return s.leaf(id, b, depth, low, high)
	}
	s.problem("page %d is of no known kind", id)
	return nil
}

// elements cuts a page into its records, which may be none; false where it is
// damaged. kind is the page's.
func (s *survey) elements(id uint64, b []byte, branch bool) ([]element, bool) {
	e := binary.NativeEndian
	n := int(e.Uint16(b[10:]))
	if headerSize*(n+1) > len(b) || branch && n == 0 {
		s.problem("page %d is damaged: it can't hold the %d records it says", id, n)
		return nil, false
	}
	all := make([]element, n)
	for i := range all {
		at := headerSize * (i + 1)
		x := element{head: b[at : at+headerSize]}
		flags, pos, k, v := uint32(0), uint64(e.Uint32(x.head)), uint64(e.Uint32(x.head[4:])), uint64(0)
		if !branch {
			flags, pos, k, v = e.Uint32(x.head), uint64(e.Uint32(x.head[4:])), uint64(e.Uint32(x.head[8:])), uint64(e.Uint32(x.head[12:]))
		}
		from := uint64(at) + pos
		if from < uint64(headerSize*(n+1)) || from+k+v > uint64(len(b)) || flags > bucketRecord {
			s.problem("page %d is damaged: record %d reaches out of it", id, i)
			return nil, false
		}
		x.isBucket, x.key, x.value = flags == bucketRecord, b[from:from+k], b[from+k:from+k+v]
		all[i] = x
	}
	return all, true
}

// element is one record of a page.
type element struct {
	head, key, value []byte
	isBucket         bool
}

// inOrder checks that keys grow and lie between the bounds their parent gives.
func (s *survey) inOrder(id uint64, all []element, low, high []byte) bool {
	for i, x := range all {
		if i > 0 && bytes.Compare(all[i-1].key, x.key) >= 0 || low != nil && bytes.Compare(x.key, low) < 0 || high != nil && bytes.Compare(x.key, high) >= 0 {
			s.problem("page %d is damaged: record %d is out of order", id, i)
			return false
		}
	}
	return true
}

func (s *survey) branch(id uint64, b []byte, depth int, low, high []byte) error {
	all, ok := s.elements(id, b, true)
	if !ok || !s.inOrder(id, all, low, high) {
		return nil
	}
	if s.bucket != nil {
		s.bucket.Branches += int64(len(b)) / int64(s.meta.pageSize)
		s.bucket.Allocated += int64(len(b))
		s.bucket.Used += used(all)
	}
	for i, x := range all {
		end := high
		if i+1 < len(all) {
			end = all[i+1].key
		}
		if err := s.walk(binary.NativeEndian.Uint64(x.head[8:]), depth+1, x.key, end); err != nil {
			return err
		}
	}
	return nil
}

func (s *survey) leaf(id uint64, b []byte, depth int, low, high []byte) error {
	all, ok := s.elements(id, b, false)
	if !ok || !s.inOrder(id, all, low, high) {
		return nil
	}
	if s.bucket == nil {
		for _, x := range all {
			if err := s.open(id, x); err != nil {
				return err
			}
		}
		return nil
	}
	s.bucket.Depth = max(s.bucket.Depth, depth+1)
	if s.bucket.Allocated > 0 { // else the bucket lies in its parent's page
		s.bucket.Used += used(all)
	}
	for i, x := range all {
		if x.isBucket {
			s.problem("page %d is damaged: record %d is a bucket within a bucket", id, i)
			return nil
		}
		s.bucket.Records++
		s.bucket.Bytes += int64(len(x.key) + len(x.value))
	}
	return nil
}

func used(all []element) int64 {
	n := int64(headerSize)
	for _, x := range all {
		n += int64(headerSize + len(x.key) + len(x.value))
	}
	return n
}

// open walks the bucket that a record of the root is.
func (s *survey) open(id uint64, x element) error {
	if !x.isBucket || len(x.value) < headerSize {
		s.problem("page %d is damaged: it holds what is no bucket", id)
		return nil
	}
	s.bucket = &BucketPages{Name: string(x.key)}
	defer func() {
		s.out.Buckets = append(s.out.Buckets, *s.bucket)
		s.bucket = nil
	}()
	if root := binary.NativeEndian.Uint64(x.value); root != 0 {
		return s.walk(root, 0, nil, nil)
	}
	inline := x.value[headerSize:]
	if len(inline) < headerSize || binary.NativeEndian.Uint16(inline[8:]) != leafPage {
		s.problem("page %d is damaged: the bucket %q in it can't be read", id, x.key)
		return nil
	}
	return s.leaf(id, inline, 0, nil, nil)
}
