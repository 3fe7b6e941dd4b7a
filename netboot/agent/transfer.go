//go:build linux

package main

import (
	"fmt"
	"io"
	"time"
)

// patience is for how long a transfer may bring nothing before it fails: the server may
// be away, and knows its machines only some time after it is back.
const patience = 2 * time.Minute

// transfer reads what a URL has, over as many connections as that takes: where one
// breaks, the next one goes on. Whoever reads must know where the end is: that of a
// connection is none.
type transfer struct {
	url      string
	log      *record
	patience time.Duration

	body io.ReadCloser // nil: not connected
	at   int64         // bytes that have come
	told string        // the last error, which is noted once
}

func (t *transfer) Read(p []byte) (int, error) {
	end := time.Now().Add(t.patience)
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		n, err := t.try(p)
		if n > 0 {
			return n, nil
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if time.Now().After(end) {
			return 0, err
		}
		if err != nil && err.Error() != t.told {
			t.told = err.Error()
			t.log.logf("the image, after %d MB: %v", t.at>>20, err)
		}
		time.Sleep(pause)
	}
}

// try reads once, and connects before if need be.
func (t *transfer) try(p []byte) (n int, err error) {
	if t.body == nil {
		url := t.url
		if t.at > 0 {
			url += fmt.Sprintf("?from=%d", t.at)
		}
		if t.body, err = get(url, time.Minute); err != nil {
			return 0, err
		}
	}
	n, err = t.body.Read(p)
	t.at += int64(n)
	if err != nil {
		t.Close()
	}
	return n, err
}

func (t *transfer) Close() error {
	if t.body == nil {
		return nil
	}
	err := t.body.Close()
	t.body = nil
	return err
}
