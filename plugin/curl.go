package plugin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// coldStartHeader of a response says what its request waited for.
const coldStartHeader = "X-KedaHTTP-Cold-Start"

type curlOptions struct {
	*session
	oneApp
	path   string
	args   []string
	direct bool
	output string
	system string
}

func newCurlCommand(s *session) *cobra.Command {
	o := &curlOptions{session: s}
	cmd := &cobra.Command{
		Use:   "curl NAME [PATH] [-- CURL-ARGS...]",
		Short: "Send an app a request with curl, through an interceptor, and say whether it was cold",
		Long: "Send an app a request with curl, and say whether it was cold or warm, and where a cold start's time went.\n\n" +
			"The request goes to an interceptor by a port-forward, so that neither a name in the DNS nor an ingress is needed; with --direct to the\n" +
			"app's URL, as everybody's. The exit code is curl's own if curl fails.\n\n" +
			"What follows -- is curl's own, its -o too. Before it, -o json or yaml prints what became of the request in the place of the response:\n" +
			"its URL, status and seconds, whether it was cold, the stages of the cold start, and the request's ID.",
		Example: s.examples("curl hello", "curl hello /api/items -- -X POST -d @item.json", "curl hello --direct", "curl hello -o json", "curl hello /image.png -- -o image.png"),
		Args: func(cmd *cobra.Command, args []string) error {
			if dash := cmd.ArgsLenAtDash(); len(args) < 2 || dash >= 0 && dash < 2 {
				return exactly("NAME")(cmd, args)
			}
			return exactly("NAME", "PATH")(cmd, args)
		},
		ValidArgsFunction: s.completeApp(1),
		RunE:              s.runs(o),
	}
	cmd.Flags().BoolVar(&o.direct, "direct", false, "Send it to the app's URL, without a port-forward.")
	addOutput(cmd, &o.output)
	addSystemFlag(cmd, &o.system)
	return cmd
}

func (o *curlOptions) complete(cmd *cobra.Command, args []string) error {
	if dash := cmd.ArgsLenAtDash(); dash >= 0 {
		args, o.args = args[:dash], args[dash:]
	}
	o.name = args[0]
	if len(args) > 1 {
		o.path = args[1]
	}
	return nil
}

func (o *curlOptions) validate() error {
	if o.path != "" && !strings.HasPrefix(o.path, "/") {
		return fmt.Errorf("%q is no path: it begins with /", o.path)
	}
	return errors.Join(o.oneApp.validate(), validateOutput(o.output))
}

func (o *curlOptions) run(ctx context.Context) error {
	curl, err := o.program("curl")
	if err != nil {
		return fmt.Errorf("there is no curl here: %w; port-forward lets any client ask", err)
	}
	c, err := o.connect()
	if err != nil {
		return err
	}
	app, err := c.get(ctx, o.name)
	if err != nil {
		return err
	}
	to, err := destinationOf(app)
	if err != nil {
		return err
	}
	headers, err := os.CreateTemp("", "kubectl-http-curl-*")
	if err != nil {
		return err
	}
	defer os.Remove(headers.Name()) //nolint:errcheck // a temporary file
	headers.Close()                 //nolint:errcheck // nothing was written
	args := []string{"--silent", "--show-error", "--dump-header", headers.Name()}
	if !o.direct {
		t, err := o.openTunnel(ctx, c, o.system, to.secure)
		if err != nil {
			return err
		}
		defer t.stop()
		args = append(args, "--connect-to", "::"+t.address)
	}
	args = append(args, o.args...)
	address := addressOf(to.url, o.path)
	args = append(args, address)
	cmd := exec.CommandContext(ctx, curl, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = o.In, o.Out, o.ErrOut
	if o.output != "" {
		cmd.Stdout = nil
	}
	began := o.now()
	failed := cmd.Run()
	took := o.now().Sub(began)
	status, header, ok := lastResponse(headers.Name())
	switch {
	case !ok:
	case o.output != "":
		if err := printAs(o.Out, o.output, exchangeOf(address, status, header, took.Seconds())); err != nil {
			return err
		}
	default:
		fmt.Fprintf(o.ErrOut, "%s\n", verdict(status, header, took.Seconds()))
	}
	if strings.HasPrefix(status, "5") || failed != nil && !ok {
		o.sayState(ctx, c)
	}
	var exit *exec.ExitError
	if errors.As(failed, &exit) {
		return exitError{code: exit.ExitCode()}
	}
	return failed
}

// sayState says of an app that has not answered how it is, if that can be why.
func (o *curlOptions) sayState(ctx context.Context, c *clients) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	app, err := c.apps.HTTPApps(c.namespace).Get(ctx, o.name, metav1.GetOptions{})
	if err != nil {
		return
	}
	if state, why := stateOf(app); state != serving && state != idle {
		fmt.Fprintf(o.ErrOut, "# the app is %s: %s\n# more of it: %s status -n %s %s\n", state, why, o.calledAs, app.Namespace, o.name)
	}
}

// addressOf is the URL of a path of the app: what its URL has of a path is the beginning of all of them.
func addressOf(app *url.URL, path string) string {
	base := strings.TrimSuffix(app.Path, "/")
	switch {
	case path == "" && base == "":
		path = "/"
	case path == "":
		path = base
	case base != "" && path != base && !strings.HasPrefix(path, base+"/"):
		path = base + path
	}
	return app.Scheme + "://" + app.Host + path
}

// lastResponse reads the status and header of the last response that curl got.
func lastResponse(file string) (status string, header http.Header, ok bool) {
	f, err := os.Open(file)
	if err != nil {
		return "", nil, false
	}
	defer f.Close() //nolint:errcheck // it was read
	reader := textproto.NewReader(bufio.NewReader(f))
	for {
		line, err := reader.ReadLine()
		if err != nil {
			return status, header, ok
		}
		if !strings.HasPrefix(line, "HTTP/") {
			continue
		}
		h, err := reader.ReadMIMEHeader()
		if err != nil && len(h) == 0 {
			return status, header, ok
		}
		_, status, _ = strings.Cut(line, " ")
		header, ok = http.Header(h), true
	}
}

// exchange is a request and what became of it, for other programs.
type exchange struct {
	URL     string  `json:"url"`
	Status  int     `json:"status"`
	Seconds float64 `json:"seconds"`
	Cold    bool    `json:"cold"`
	// AnsweredBy is the fallback or the placeholder, if one of them answered while the app wakes.
	AnsweredBy string `json:"answeredBy,omitempty"`
	// Stages of a cold start are in seconds after the request came.
	Stages    map[string]float64 `json:"stages,omitempty"`
	RequestID string             `json:"requestID,omitempty"`
}

func exchangeOf(url, status string, header http.Header, seconds float64) exchange {
	cold := header.Get(coldStartHeader)
	e := exchange{URL: url, Seconds: seconds, Cold: cold != "", RequestID: header.Get("X-Request-Id")}
	code, _, _ := strings.Cut(strings.TrimSpace(status), " ")
	e.Status, _ = strconv.Atoi(code) // 0 is no status either
	if cold == "fallback" || cold == "placeholder" {
		e.AnsweredBy = cold
	}
	for _, s := range parseStages(cold) {
		if e.Stages == nil {
			e.Stages = map[string]float64{}
		}
		e.Stages[s.name] = s.after.Seconds()
	}
	return e
}

// verdict says what a response tells of how the app was.
func verdict(status string, header http.Header, seconds float64) string {
	said := fmt.Sprintf("# %s after %.3f s", strings.TrimSpace(status), seconds)
	switch cold := header.Get(coldStartHeader); cold {
	case "":
		// An error may be the interceptor's own, of a request that the app has not seen.
		if !strings.HasPrefix(status, "5") {
			said += ", warm"
		}
	case "fallback", "placeholder":
		said += ", cold: the " + cold + " answered while the app wakes"
	default:
		said += ", cold: " + cold
	}
	if id := header.Get("X-Request-Id"); id != "" {
		said += "; request " + id
	}
	return said
}
