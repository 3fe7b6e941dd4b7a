package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
)

// TestPipelines runs the examples of topic ci in the lab that waltd demo leaves open, each as
// what runs such jobs would: two at once, which get different nodes, and one whose tests fail.
// All of them give back what they got.
func TestPipelines(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../commands/topics/ci.md")
	if err != nil {
		t.Fatal(err)
	}
	ssh := startDemo(t)
	for name, p := range map[string]struct {
		before string // the line before the example
		job    func(example string, n int) job
	}{
		"shell":  {"A job needs an ssh client, a key and these commands:", shellJob},
		"gitlab": {"GitLab CI", gitlabJob},
		"github": {"The jobs of a matrix have one run_id: their index belongs into the ID, too.", githubJob},
	} {
		t.Run(name, func(t *testing.T) {
			example := exampleAfter(t, string(text), p.before)
			together := t.TempDir() // has a file for each job that got its nodes
			nodes := make([]string, 2)
			var g errgroup.Group
			for n := range nodes {
				g.Go(func() error { // ends within the patience of a test
					out, err := p.job(example, n).run(ssh, together, "hostname")
					found := ranOn.FindStringSubmatch(out)
					if err != nil || found == nil {
						return fmt.Errorf("job %d: %v\n%s", n, err, out)
					}
					nodes[n] = found[1]
					return nil
				})
			}
			if err := g.Wait(); err != nil {
				t.Fatal(err)
			}
			if nodes[0] == nodes[1] {
				t.Errorf("both got %s", nodes[0])
			}
			if out, err := p.job(example, 2).run(ssh, together, "false"); err == nil {
				t.Errorf("a job whose tests fail does not:\n%s", out)
			}
			if out, err := exec.Command("ssh", append(strings.Fields(ssh), "node", "show", "--names-only")...).Output(); err != nil || len(out) > 0 {
				t.Errorf("what the jobs kept: %s, %v", out, err)
			}
		})
	}
}

// ranOn finds the name that a node says that it has.
var ranOn = regexp.MustCompile(`(?m)^((?:rpi|pc)[\w-]*-\d+)$`)

// exampleAfter is the first block of a text that is set in, behind a line.
func exampleAfter(t *testing.T, text, line string) string {
	t.Helper()
	_, rest, found := strings.Cut(text, "\n"+line+"\n")
	if !found {
		t.Fatalf("there is no line %q", line)
	}
	var example strings.Builder
	for line := range strings.Lines(rest) {
		if in, is := strings.CutPrefix(line, "    "); is {
			example.WriteString(in)
		} else if example.Len() > 0 {
			break
		}
	}
	return example.String()
}

// job is what one run of an example is: steps in shells of their own, and what is done in the
// end whatever came of them.
type job struct {
	env           []string
	steps, always []string
}

// run runs a job in which the tests are another command. A job that ran on its nodes waits
// before that for another one which got some.
func (j job) run(ssh, together, tests string) (out string, err error) {
	const function = `
ssh() {
	shift
	case "$*" in *"node run"*)
		: >"$TOGETHER/$$"
		until [ "$(ls "$TOGETHER" | wc -l)" -ge 2 ]; do sleep 0.1; done ;;
	esac
	command ssh %s "$@"
}
`
	do := func(step string) error {
		sh := exec.Command("sh", "-ec", fmt.Sprintf(function, ssh)+strings.ReplaceAll(step, "./run-tests", tests))
		sh.Env = append(append(os.Environ(), "TOGETHER="+together), j.env...)
		said, err := sh.CombinedOutput()
		out += string(said)
		return err
	}
	for _, step := range j.steps {
		if err = do(step); err != nil {
			break
		}
	}
	for _, step := range j.always {
		if failed := do(step); err == nil {
			err = failed
		}
	}
	return out, err
}

func shellJob(example string, _ int) job { return job{steps: []string{example}} }

// gitlabJob runs the lines of script in one shell, and those of after_script in another.
func gitlabJob(example string, n int) job {
	script, after, _ := strings.Cut(example, "  after_script:\n")
	_, script, _ = strings.Cut(script, "  script:\n")
	return job{env: []string{fmt.Sprintf("CI_JOB_ID=%d", 8812+n)}, steps: []string{listed(script, "    - ")}, always: []string{listed(after, "    - ")}}
}

// githubJob runs each step in a shell of its own.
func githubJob(example string, n int) job {
	known := strings.NewReplacer("${{ github.run_id }}", "4711", "${{ strategy.job-index }}", fmt.Sprint(n), "${{ matrix.model }}", []string{"rpi-3-b", "pc-x86-64"}[n%2])
	j := job{}
	env, steps, _ := strings.Cut(known.Replace(example), "    steps:\n")
	_, env, _ = strings.Cut(env, "    env:\n")
	for line := range strings.Lines(env) {
		j.env = append(j.env, strings.Replace(strings.TrimSpace(line), ": ", "=", 1))
	}
	always, all := "      - if: always()\n", &j.steps
	for step := range strings.SplitSeq(strings.ReplaceAll(steps, always+"        run:", always+"      - run:"), "      - ") {
		if step == "if: always()\n" {
			all = &j.always
		} else if run, is := strings.CutPrefix(step, "run: "); is {
			*all = append(*all, unfolded(run))
		}
	}
	return j
}

// listed are the entries of a list of YAML as lines.
func listed(list, begin string) string {
	var lines strings.Builder
	for entry := range strings.SplitSeq(list, begin) {
		lines.WriteString(unfolded(entry))
	}
	return lines.String()
}

// unfolded is a text of YAML that may go on in lines which are set in.
func unfolded(text string) string {
	return strings.Join(strings.Fields(strings.TrimPrefix(text, ">\n")), " ") + "\n"
}
