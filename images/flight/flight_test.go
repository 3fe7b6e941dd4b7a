package flight

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
)

func TestSharedWorkIsDoneOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g Group[int]
		finish, runs := make(chan struct{}), 0
		work := func(context.Context) (int, error) {
			runs++
			<-finish
			return 42, nil
		}
		results := make(chan int)
		for range 5 {
			go func() {
				v, _ := g.Do(t.Context(), "x", work)
				results <- v
			}()
		}
		synctest.Wait()
		close(finish)
		for range 5 {
			if v := <-results; v != 42 {
				t.Errorf("got %d", v)
			}
		}
		if runs != 1 {
			t.Errorf("the work ran %d times", runs)
		}
	})
}

func TestSharedWorkSurvivesOneWhoLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g Group[int]
		finish := make(chan struct{})
		work := func(ctx context.Context) (int, error) {
			select {
			case <-finish:
				return 42, nil
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		leaver, leave := context.WithCancel(t.Context())
		left, stayed := make(chan error), make(chan int)
		go func() { // the one who began it leaves
			_, err := g.Do(leaver, "x", work)
			left <- err
		}()
		synctest.Wait()
		go func() {
			v, _ := g.Do(t.Context(), "x", work)
			stayed <- v
		}()
		synctest.Wait()
		leave()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("who left got %v", err)
		}
		close(finish)
		if v := <-stayed; v != 42 {
			t.Errorf("who stayed got %d", v)
		}
	})
}

func TestSharedWorkEndsWithTheLastWhoLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g Group[int]
		ctx, leave := context.WithCancel(t.Context())
		ended := false
		done := make(chan struct{})
		go func() {
			g.Do(ctx, "x", func(ctx context.Context) (int, error) {
				<-ctx.Done()
				ended = true
				return 0, ctx.Err()
			})
			close(done)
		}()
		synctest.Wait()
		leave()
		<-done
		if !ended {
			t.Error("do returned before its work had ended")
		}
		v, err := g.Do(t.Context(), "x", func(context.Context) (int, error) { return 7, nil })
		if v != 7 || err != nil {
			t.Errorf("a newcomer got %d, %v", v, err)
		}
	})
}

func TestSharedPanicIsAnError(t *testing.T) {
	t.Parallel()
	var g Group[int]
	_, err := g.Do(t.Context(), "x", func(context.Context) (int, error) { panic("ouch") })
	if err == nil || !strings.Contains(err.Error(), "ouch") {
		t.Errorf("got %v", err)
	}
}
