package images

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// The examples are images for nodes: their labels are those that this package reads.
func TestExamples(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("examples/*/Dockerfile")
	if err != nil || len(files) < 3 {
		t.Fatalf("there are %v, %v", files, err)
	}
	label := regexp.MustCompile(`(?m)^LABEL (walt\.[a-z.-]+)=(\S+)$`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		labels := map[string]string{}
		for _, m := range label.FindAllStringSubmatch(string(text), -1) {
			labels[m[1]] = m[2]
		}
		models, bad := parseModels(labels[modelsLabel])
		if len(models) == 0 || bad != "" {
			t.Errorf("%s: the models are %v, %s", file, models, bad)
		}
		if name, is := labels[preferredLabel]; is {
			if _, err := ParseName("alice", name); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}
