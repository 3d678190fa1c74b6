package plugin

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

// redacted stands for what is nobody else's business.
const redacted = "REDACTED"

// logLines is how much of each log goes into a report.
const logLines = 2000

// writeReport writes an archive of what was found, what runs, and what was written to the log. What cannot be read is left out, and
// said so.
func (e *examination) writeReport(ctx context.Context, name string) error {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	compressed := gzip.NewWriter(file)
	archive := tar.NewWriter(compressed)
	err = e.bundle(ctx, func(name string, text []byte) error {
		if err := archive.WriteHeader(&tar.Header{Name: "kedahttp-report/" + name, Mode: 0o600, Size: int64(len(text)), ModTime: e.now()}); err != nil {
			return err
		}
		_, err := archive.Write(text)
		return err
	})
	return errors.Join(err, archive.Close(), compressed.Close(), file.Close())
}

func (e *examination) bundle(ctx context.Context, add func(name string, text []byte) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	checks, err := yaml.Marshal(e.found)
	if err != nil {
		return err
	}
	if err := add("checks.yaml", checks); err != nil {
		return err
	}
	core, apps := e.clients.kubernetes.CoreV1(), e.clients.kubernetes.AppsV1()
	opts := metav1.ListOptions{Limit: mostNames}
	for name, list := range map[string]func() (runtime.Object, error){
		"deployments.yaml": func() (runtime.Object, error) { return apps.Deployments(e.system).List(ctx, opts) },
		"pods.yaml":        func() (runtime.Object, error) { return core.Pods(e.system).List(ctx, opts) },
		"events.yaml":      func() (runtime.Object, error) { return core.Events(e.system).List(ctx, opts) },
		"apps.yaml":        func() (runtime.Object, error) { return e.clients.apps.HTTPApps(e.clients.namespace).List(ctx, opts) },
	} {
		object, err := list()
		text := []byte(fmt.Sprintf("# %v\n", err))
		if err == nil {
			if text, err = redact(object); err != nil {
				return err
			}
		}
		if err := add(name, text); err != nil {
			return err
		}
	}
	return e.addLogs(ctx, add)
}

func (e *examination) addLogs(ctx context.Context, add func(name string, text []byte) error) error {
	pods, err := e.clients.kubernetes.CoreV1().Pods(e.system).List(ctx, metav1.ListOptions{Limit: mostNames})
	if apierrors.IsForbidden(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, pod := range pods.Items {
		for _, container := range pod.Spec.Containers {
			stream, err := e.clients.kubernetes.CoreV1().Pods(e.system).GetLogs(pod.Name, &corev1.PodLogOptions{Container: container.Name, TailLines: ptr.To[int64](logLines)}).Stream(ctx)
			text := []byte(fmt.Sprintf("# %v\n", err))
			if err == nil {
				text, err = io.ReadAll(io.LimitReader(stream, 4<<20))
				stream.Close() //nolint:errcheck // it was read
				if err != nil {
					text = append(text, fmt.Sprintf("\n# %v\n", err)...)
				}
			}
			if err := add("logs/"+pod.Name+"-"+container.Name+".log", text); err != nil {
				return err
			}
		}
	}
	return nil
}

// redact writes an object without values that may be secret: those of environment variables and headers, of arguments that are named
// like secrets, bodies, and what tools remember of all that.
func redact(object runtime.Object) ([]byte, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return nil, err
	}
	redactValue("", content)
	return yaml.Marshal(content)
}

func redactValue(within string, value any) {
	switch v := value.(type) {
	case map[string]any:
		delete(v, "managedFields")
		for key, inner := range v {
			text, isText := inner.(string)
			switch {
			case isText && text != "" && (key == "value" && (within == "env" || within == "headers" || within == "httpHeaders") || key == "body"):
				v[key] = redacted
			case isText && key == "kubectl.kubernetes.io/last-applied-configuration":
				v[key] = redacted
			default:
				redactValue(key, inner)
			}
		}
	case []any:
		for i, inner := range v {
			if text, ok := inner.(string); ok && (within == "args" || within == "command") {
				v[i] = redactArgument(text)
				continue
			}
			redactValue(within, inner)
		}
	}
}

// secretive are parts of the names of flags whose values are nobody else's business.
var secretive = []string{"token", "password", "passwd", "secret", "credential", "api-key", "apikey", "auth"}

func redactArgument(text string) string {
	name, value, ok := strings.Cut(text, "=")
	if !ok || value == "" {
		return text
	}
	for _, part := range secretive {
		if strings.Contains(strings.ToLower(name), part) {
			return name + "=" + redacted
		}
	}
	return text
}
