package images

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"walt/auth"
	"walt/fault"
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

// transfer runs do as a job that others see and may cancel; its error is then
// that it was. An empty id gets a number; report may be nil.
func (c *Catalog) transfer(ctx context.Context, id, what string, user auth.Name, report func(Progress), do func(context.Context, func(Progress)) error) error {
	ctx, note, end := c.jobs.begin(ctx, id, what, user)
	defer end()
	err := do(ctx, func(p Progress) {
		note(p)
		if report != nil {
			report(p)
		}
	})
	if why := context.Cause(ctx); why != nil {
		return why
	}
	return err
}

// begin notes that a job runs until end is called.
func (j *jobs) begin(ctx context.Context, id, what string, user auth.Name) (_ context.Context, note func(Progress), end func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	j.mu.Lock()
	defer j.mu.Unlock()
	if id == "" {
		j.last++
		id = strconv.Itoa(j.last)
	}
	if j.all == nil {
		j.all = map[string]*running{}
	}
	r := &running{job: Job{ID: id, What: what, User: user, Running: true}, cancel: cancel}
	j.all[id] = r
	note = func(p Progress) {
		if p.Layer != "" || p.Note != "" {
			return
		}
		j.mu.Lock()
		defer j.mu.Unlock()
		r.job.Done, r.job.Total = p.Done, p.Total
	}
	return ctx, note, func() {
		cancel(nil)
		j.mu.Lock()
		defer j.mu.Unlock()
		delete(j.all, id)
	}
}

// Publish sends an image of the user to a registry, "" is the first one, as a
// job, and returns its link there.
func (c *Catalog) Publish(ctx context.Context, img Image, registry string, report func(Progress)) (link Link, err error) {
	err = c.transfer(ctx, "", "publish "+img.Ref.Short(), img.Ref.User, report, func(ctx context.Context, report func(Progress)) (err error) {
		link, err = c.Content.Publish(ctx, img, registry, report)
		return err
	})
	return link, err
}

// defaultPrefix begins the ID of the download of a default image; the model follows.
const defaultPrefix = "default-"

// DownloadID is the ID of the job that downloads the default image of a model.
func DownloadID(model Model) string { return defaultPrefix + string(model) }

// Jobs returns the transfers that run, and the downloads of default images that
// wait for their next try, ordered by ID.
func (c *Catalog) Jobs(ctx context.Context) ([]Job, error) {
	waiting, err := c.wanted(ctx)
	if err != nil {
		return nil, err
	}
	c.jobs.mu.Lock()
	defer c.jobs.mu.Unlock()
	var found []Job
	for _, r := range c.jobs.all {
		found = append(found, r.job)
	}
	for _, w := range waiting {
		job := Job{ID: DownloadID(w.Model), What: DefaultRef(w.Model).String(), Stopped: w.Stopped, Tries: w.Tries, Next: w.Next, Error: w.Error}
		if i := slices.IndexFunc(found, func(j Job) bool { return j.ID == job.ID }); i >= 0 {
			found[i].Tries, found[i].Error = w.Tries, w.Error
			continue
		}
		found = append(found, job)
	}
	slices.SortFunc(found, func(a, b Job) int { return cmp.Or(cmp.Compare(a.number(), b.number()), cmp.Compare(a.ID, b.ID)) })
	return found, nil
}

// number is that of a transfer for a user; others come after them.
func (j Job) number() int {
	if n, err := strconv.Atoi(j.ID); err == nil {
		return n
	}
	return math.MaxInt
}

// CancelJob stops a transfer. That of somebody else is only stopped by an
// administrator. The download of a default image stays stopped until RetryJob.
func (c *Catalog) CancelJob(ctx context.Context, user auth.Name, id string) error {
	job, err := c.job(ctx, id)
	if err != nil {
		return err
	}
	if job.User != user && job.User != "" {
		err := c.Store.View(ctx, func(r state.Reader) error { return auth.Require(r, user) })
		if fault.As(err) != nil {
			return fault.Failedf("job %s is of %s: only they, or an administrator, cancel it", id, job.User)
		}
		if err != nil {
			return err
		}
	}
	if job.User == "" {
		if err := c.rewait(ctx, user, job, "stopped", func(w *download) { w.Stopped = true }); err != nil {
			return err
		}
	}
	c.jobs.mu.Lock()
	defer c.jobs.mu.Unlock()
	if r := c.jobs.all[id]; r != nil {
		r.cancel(errCancelled)
	}
	return nil
}

// RetryJob has the download of a default image tried now.
func (c *Catalog) RetryJob(ctx context.Context, user auth.Name, id string) error {
	job, err := c.job(ctx, id)
	switch {
	case err != nil:
		return err
	case job.User != "":
		return fault.Failedf("job %s runs for %s: there is nothing to retry", id, job.User)
	}
	return c.rewait(ctx, user, job, "to be tried now", func(w *download) { w.Stopped, w.Tries, w.Next = false, 0, time.Time{} })
}

func (c *Catalog) job(ctx context.Context, id string) (Job, error) {
	all, err := c.Jobs(ctx)
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
func (c *Catalog) rewait(ctx context.Context, user auth.Name, job Job, how string, change func(*download)) error {
	model := strings.TrimPrefix(job.ID, defaultPrefix)
	_, err := c.Store.Update(ctx, func(tx state.Tx) error {
		if err := auth.Member(tx, user); err != nil {
			return err
		}
		w, wanted, err := downloads.Find(tx, model)
		if err != nil || !wanted { // it is done
			return err
		}
		change(&w)
		e := journal.Event{Type: journal.Download, Actor: user.Actor(), To: job.What, Detail: how}
		return errors.Join(downloads.Put(tx, model, w), c.Journal.Record(tx, e))
	})
	return err
}
