package nfs

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net/netip"
	"testing"

	"walt/images/content"
	"walt/images/imagetest"
)

// FuzzCall answers whatever comes as a call. The answer is to that call, whole, of
// a bounded length, and the same when the call comes again.
func FuzzCall(f *testing.F) {
	imagetest.KeepFinds(f)
	d, tree := image(f, imagetest.Archive(f, regular("a/f", "hello"), symlink("l", "a/f")))
	l := &lab{}
	l.show(home, d, tree)
	s := &Server{Exports: l, Log: slog.New(slog.DiscardHandler), ctx: context.Background()}
	seed := func(program, procedure uint32, args ...any) {
		c := client{cred: asUser(1, 2, 3)}
		f.Add(c.message(program, version, procedure, encode(args...))[4:])
	}
	var all []handle // the root, a, a/f, l and one that is not there
	for n := range content.Ino(5) {
		all = append(all, handle(IDOf(d).appendHandle(nil, n+1)))
	}
	seed(programMount, 1, Path(d))
	seed(programACL, 1, all[0], 15)
	for procedure := range uint32(len(nfsProcedures)) {
		for _, h := range all {
			switch procedure {
			case 3:
				seed(programNFS, procedure, h, "f")
				seed(programNFS, procedure, h, "..")
			case 16:
				seed(programNFS, procedure, h, uint64(0), uint64(0), 4096)
			default:
				seed(programNFS, procedure, h, uint64(0), 4096, 4096, 4096)
			}
		}
	}
	one, again := call{server: s, from: netip.MustParseAddr(home)}, call{server: s, from: netip.MustParseAddr(home)}
	out := make([]byte, 4, batch+readLimit+1024)
	f.Fuzz(func(t *testing.T, record []byte) {
		if len(record) > recordLimit {
			return
		}
		answer, err := one.answer(record, out[:4])
		if err != nil {
			if err != errNoCall {
				t.Error(err)
			}
			return
		}
		answer = answer[4:]
		if len(answer)%4 != 0 || len(answer) < 16 || len(answer) > readLimit+256 {
			t.Errorf("an answer of %d bytes", len(answer))
		}
		if binary.BigEndian.Uint32(answer) != binary.BigEndian.Uint32(record) || binary.BigEndian.Uint32(answer[4:]) != messageReply {
			t.Errorf("an answer to another call: % x", answer)
		}
		same, err := again.answer(record, nil)
		if err != nil || string(same) != string(answer) {
			t.Errorf("% x, then % x, %v", answer, same, err)
		}
	})
}
