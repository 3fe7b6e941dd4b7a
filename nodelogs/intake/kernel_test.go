package intake

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// What kernels say, in both forms, becomes lines; what did not come is counted.
func TestKernel(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		packets []string
		want    []string
		missing uint64
	}{
		{packets: []string{"usb 1-1: new device\n", "a\nb\n", "1,2,3 are numbers; this is a text"}, want: []string{"usb 1-1: new device", "a", "b", "1,2,3 are numbers; this is a text"}},
		// what is about a device is left out, what is escaped is not
		{packets: []string{"6,416,1758426,-;NET: Registered\n SUBSYSTEM=net\n DEVICE=n1\n"}, want: []string{"NET: Registered"}},
		{packets: []string{"6.1.0,6,416,1758426,c;NET: a;b\n"}, want: []string{"NET: a;b"}},
		{packets: []string{`6,416,1758426,-,caller=T1;\xc3\xa4 \x5cx41\x0aand more` + "\n"}, want: []string{"\u00e4 \\x41", "and more"}},
		{packets: []string{"** 2 printk messages dropped **\n6,5,1000,-;b\n"}, want: []string{"b"}},
		// parts
		{packets: []string{"6,416,17,-,ncfrag=0/9;the \\x", "6,416,17,-,ncfrag=6/9;41\n"}, want: []string{"the A"}},
		{packets: []string{"6,1,17,-,ncfrag=0/9;the", "6,2,17,-;next\n"}, want: []string{"the", "next"}, missing: 1},
		{packets: []string{"6,1,17,-,ncfrag=0/9;the", "6,1,17,-,ncfrag=6/9;end", "6,2,17,-;next\n"}, want: []string{"the", "end", "next"}, missing: 1},
		{packets: []string{"6,1,17,-,ncfrag=3/9;mid", "6,1,17,-,ncfrag=6/9;end", "6,2,17,-;next\n"}, want: []string{"mid", "end", "next"}, missing: 1},
		{packets: []string{"6,1,17,-,ncfrag=5/3;odd", "6,2,17,-,ncfrag=0/99999;huge"}, want: []string{"odd", "huge"}},
		// numbers
		{packets: []string{"6,4,17,-;a\n", "6,7,17,-;b\n", "6,8,17,-;c\n"}, want: []string{"a", "b", "c"}, missing: 2},
		{packets: []string{"6,4,9000000,-;a\n", "6,4,9000000,-;a\n", "6,900,70000,-;began again\n", "6,9,71000,-;late\n"}, want: []string{"a", "a", "began again", "late"}},
		{packets: []string{"6,4,17,-;a\n", "6,9999999999999999999,17,-;b\n"}, want: []string{"a", "b"}, missing: 1 << 32},
	} {
		var k kernel
		var got []string
		for _, p := range c.packets {
			got = append(got, k.take(parseKernel([]byte(p)), time.Time{})...)
		}
		if !slices.Equal(got, c.want) || k.missing != c.missing {
			t.Errorf("%q: %q, %d missing; want %q, %d", c.packets, got, k.missing, c.want, c.missing)
		}
	}
}

// The next part of a message is not waited for long.
func TestKernelFallsSilent(t *testing.T) {
	t.Parallel()
	var k kernel
	at := time.Unix(1000, 0)
	if got := k.take(parseKernel([]byte("6,1,17,-,ncfrag=0/9;the")), at); len(got) > 0 {
		t.Errorf("a part is taken for all: %q", got)
	}
	if got := k.late(at.Add(partsWait - 1)); len(got) > 0 {
		t.Errorf("too early: %q", got)
	}
	if got := k.late(at.Add(partsWait)); !slices.Equal(got, []string{"the"}) || k.missing != 1 {
		t.Errorf("%q, %d missing", got, k.missing)
	}
	if got := k.late(at.Add(time.Hour)); len(got) > 0 {
		t.Errorf("again: %q", got)
	}
}

func FuzzKernel(f *testing.F) {
	f.Add([]byte("6,1,17,-,ncfrag=0/9;the\x006,1,17,-,ncfrag=3/9;\\x41end"))
	f.Add([]byte("6.1.0,6,416,1758426,c;NET: a;b\n DEVICE=n1\x00text"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var k kernel
		size := 0
		for p := range strings.SplitSeq(string(b), "\x00") {
			for _, line := range k.take(parseKernel([]byte(p)), time.Time{}) {
				size += len(line)
			}
		}
		if size+len(k.part.text) > len(b) {
			t.Errorf("%q: %d bytes in all, and %d wait", b, size, len(k.part.text))
		}
	})
}
