package command

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/pprof"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kedahttp/kedahttp/interceptor/admin"
	"github.com/kedahttp/kedahttp/interceptor/backend"
)

// debug is what somebody who runs the interceptor may ask it, and nobody else: what all apps are and where their pods are is not
// for every pod that can reach this one.
func (i *interceptor) debug() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /debug/routes", &dump{directory: i.directory, turn: make(chan struct{}, 1)})
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc(admin.VerbosityPattern, admin.Verbosity)
	return admin.FromInside(mux)
}

// dump tells all routes and endpoints, app by app. One at a time: it is read by people.
type dump struct {
	directory *backend.Directory
	turn      chan struct{}
}

func (d *dump) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var only types.NamespacedName
	if app := r.URL.Query().Get("app"); app != "" {
		var ok bool
		if only.Namespace, only.Name, ok = strings.Cut(app, "/"); !ok || only.Namespace == "" || only.Name == "" {
			http.Error(w, "app is not NAMESPACE/NAME", http.StatusBadRequest)
			return
		}
	}
	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
	case <-r.Context().Done():
		return
	}
	w.Header().Set("Content-Type", "application/json")
	begin := `{"ready":false,"apps":[`
	if d.directory.Ready() {
		begin = `{"ready":true,"apps":[`
	}
	// One app at a time is in memory, and on a line of its own.
	_, err := io.WriteString(w, begin)
	separator := "\n"
	for app := range d.directory.Describe(only) {
		if err != nil || r.Context().Err() != nil {
			return
		}
		var line []byte
		if line, err = json.Marshal(app); err == nil {
			_, err = w.Write(append([]byte(separator), line...))
		}
		separator = ",\n"
	}
	_, _ = io.WriteString(w, "\n]}\n")
}
