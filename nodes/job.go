package nodes

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"walt/auth"
	"walt/fault"
	"walt/images"
	"walt/journal"
	"walt/state"
)

// Job is a transfer of content: one that runs for a user who waits for it, or
// the download of a default image that devices wait for, which goes on in the
// background until it is done.
type Job struct {
	ID          string
	What        string
	User        auth.Name // who waits for it, "" for a default image
	Running     bool
	Done, Total int64     // bytes, while it runs
	Stopped     bool      // by a user: not tried again by itself
	Tries       int       // that failed
	Next        time.Time // of the next try
	Error       string    // of the last try
}

// jobs is what runs now.
type jobs struct {
	mu   sync.Mutex
	last int
	all  map[string]*running
}

type running struct {
	job    Job
	cancel context.CancelCauseFunc
}

// errCancelled is the cause of a job that a user cancelled.
var errCancelled = fault.New(fault.Interrupted, "the transfer was cancelled").WithHint("see what runs with: advanced jobs")

// begin notes that a job runs until end is called. A cancelled job's context
// ends with errCancelled as its cause. An empty id gets a number.
func (j *jobs) begin(ctx context.Context, id, what string, user auth.Name) (_ context.Context, report func(images.Progress), end func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	j.mu.Lock()
	defer j.mu.Unlock()
	if id == "" {
		j.last++
		id = strconv.Itoa(j.last)
	}
	r := &running{job: Job{ID: id, What: what, User: user, Running: true}, cancel: cancel}
	j.all[id] = r
	report = func(p images.Progress) {
		if p.Layer != "" {
			return
		}
		j.mu.Lock()
		defer j.mu.Unlock()
		r.job.Done, r.job.Total = p.Done, p.Total
	}
	return ctx, report, func() {
		cancel(nil)
		j.mu.Lock()
		defer j.mu.Unlock()
		delete(j.all, id)
	}
}

// Transfer notes, until end is called, that content is transferred for a user,
// so that others see it; the context ends when somebody cancels it.
func (l *Lab) Transfer(ctx context.Context, user auth.Name, what string) (_ context.Context, report func(images.Progress), end func()) {
	return l.jobs.begin(ctx, "", what, user)
}

// defaultPrefix begins the ID of the download of a default image; the model follows.
const defaultPrefix = "default-"

// DownloadID is the ID of the job that downloads the default image of a model.
func DownloadID(model images.Model) string { return defaultPrefix + string(model) }

// Jobs returns the transfers that run, and the downloads of default images that
// wait for their next try, ordered by ID.
func (l *Lab) Jobs(ctx context.Context) ([]Job, error) {
	waiting, err := l.Downloads(ctx)
	if err != nil {
		return nil, err
	}
	l.jobs.mu.Lock()
	defer l.jobs.mu.Unlock()
	var found []Job
	for _, r := range l.jobs.all {
		found = append(found, r.job)
	}
	for _, w := range waiting {
		job := Job{ID: DownloadID(w.Model), What: images.DefaultRef(w.Model).String(), Stopped: w.Stopped, Tries: w.Tries, Next: w.Next, Error: w.Error}
		if i := slices.IndexFunc(found, func(j Job) bool { return j.ID == job.ID }); i >= 0 {
			found[i].Tries, found[i].Error = w.Tries, w.Error
			continue
		}
		found = append(found, job)
	}
	slices.SortFunc(found, func(a, b Job) int { return naturally(Name(a.ID), Name(b.ID)) })
	return found, nil
}

// CancelJob stops a transfer. That of somebody else is only stopped by an
// administrator. The download of a default image stays stopped until RetryJob.
func (l *Lab) CancelJob(ctx context.Context, user auth.Name, id string) error {
	job, err := l.job(ctx, id)
	if err != nil {
		return err
	}
	if job.User != user && job.User != "" {
		err := l.Store.View(ctx, func(r state.Reader) error { return auth.Require(r, user) })
		if fault.As(err) != nil {
			return fault.Failedf("job %s is of %s: only they, or an administrator, cancel it", id, job.User)
		}
		if err != nil {
			return err
		}
	}
	if job.User == "" {
		if err := l.rewait(ctx, user, job, "stopped", func(w *Download) { w.Stopped = true }); err != nil {
			return err
		}
	}
	l.jobs.mu.Lock()
	defer l.jobs.mu.Unlock()
	if r := l.jobs.all[id]; r != nil {
		r.cancel(errCancelled)
	}
	return nil
}

// RetryJob has the download of a default image tried now.
func (l *Lab) RetryJob(ctx context.Context, user auth.Name, id string) error {
	job, err := l.job(ctx, id)
	switch {
	case err != nil:
		return err
	case job.User != "":
		return fault.Failedf("job %s runs for %s: there is nothing to retry", id, job.User)
	}
	retry := func(w *Download) { w.Stopped, w.Tries, w.Next = false, 0, time.Time{} }
	if err := l.rewait(ctx, user, job, "to be tried now", retry); err != nil {
		return err
	}
	l.kick()
	return nil
}

func (l *Lab) job(ctx context.Context, id string) (Job, error) {
	all, err := l.Jobs(ctx)
	if err != nil {
		return Job{}, err
	}
	var known []string
	for _, job := range all {
		if job.ID == id {
			return job, nil
		}
		known = append(known, job.ID)
	}
	return Job{}, fault.Unknown("job", []string{id}, known, "see what runs with: advanced jobs")
}

// rewait changes how the download of a default image waits.
func (l *Lab) rewait(ctx context.Context, user auth.Name, job Job, how string, change func(*Download)) error {
	model := strings.TrimPrefix(job.ID, defaultPrefix)
	_, err := l.Store.Update(ctx, func(tx state.Tx) error {
		if err := auth.Member(tx, user); err != nil {
			return err
		}
		w, err := wanted.Get(tx, model)
		if errors.Is(err, state.ErrNotFound) {
			return nil // it is done
		}
		if err != nil {
			return err
		}
		change(&w)
		e := journal.Event{Type: journal.Download, Actor: string(user), To: job.What, Detail: how}
		return errors.Join(wanted.Put(tx, model, w), l.Journal.Record(tx, e))
	})
	return err
}
