//go:build e2e && chart

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// onlooker runs a pod that can be asked what it reaches.
func (u user) onlooker() func(addresses []string) (reached []string, err error) {
	u.Helper()
	u.kubectl("run", "onlooker", "--image=kedahttp/test-echo:dev", "--image-pull-policy=Never", "--restart=Never")
	u.kubectl("wait", "--for=condition=Ready", "pod/onlooker", "--timeout=2m")
	return func(addresses []string) (reached []string, err error) {
		out, err := u.try("", append([]string{"exec", "onlooker", "--", "/echo", "reach"}, addresses...)...)
		for line := range strings.Lines(out) {
			if address, ok := strings.CutSuffix(strings.TrimSpace(line), " yes"); ok {
				reached = append(reached, address)
			}
		}
		return reached, err
	}
}

// anotherMachine speaks to pods as one that is not the node they are on: the cluster judges what comes from the node's address as if it came from
// elsewhere.
func (u user) anotherMachine() func(addresses []string) (reached []string, err error) {
	u.Helper()
	from := operator(u.T).kubectl("get", "nodes", "-o", `jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}`)
	return func(addresses []string) (reached []string, err error) {
		for _, address := range addresses {
			err := visit(func() error {
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: time.Second}
				conn, err := d.Dial("tcp", address)
				if err == nil {
					err = conn.Close()
				}
				return err
			})
			var timeout net.Error
			switch {
			case err == nil:
				reached = append(reached, address)
			case !errors.As(err, &timeout) || !timeout.Timeout():
				return nil, err
			}
		}
		return reached, nil
	}
}

// strangersAreKeptOut shows who reaches which port of a release with NetworkPolicies, which lets those who belong to the namespaces with
// team=monitoring read metrics.
func (u user) strangersAreKeptOut(app string) {
	u.Helper()
	everybody, keda, monitoring := user{T: u.T}, user{T: u.T, namespace: "keda"}, u.another()
	u.Cleanup(func() { keda.kubectl("delete", "pod", "onlooker", "--grace-period=1") })
	everybody.kubectl("label", "namespace", monitoring.namespace, "team=monitoring")

	// What there is to be reached: every port of every part.
	ports := map[string]string{}
	for _, part := range []string{"apiserver", "interceptor", "scaler"} {
		for _, pod := range u.running("app.kubernetes.io/name=kedahttp-" + part) {
			for _, port := range pod.Spec.Containers[0].Ports {
				ports[net.JoinHostPort(pod.Status.PodIP, fmt.Sprint(port.ContainerPort))] = part + " " + port.Name
			}
		}
	}
	addresses := slices.Sorted(maps.Keys(ports))
	public := []string{"apiserver https", "interceptor http", "interceptor https"}
	rooms := []struct {
		who   string
		look  func([]string) ([]string, error)
		reach []string
	}{
		{"a stranger", u.onlooker(), public},
		{"KEDA", keda.onlooker(), append([]string{"scaler grpc"}, public...)},
		{"Prometheus", monitoring.onlooker(), append([]string{"interceptor admin", "scaler admin"}, public...)},
		{"another machine", u.anotherMachine(), public},
	}
	u.eventually(later, "everybody reaches what they need, and nothing else", func() error {
		errs := make([]error, len(rooms))
		var all sync.WaitGroup
		for i, room := range rooms {
			all.Go(func() {
				reached, err := room.look(addresses)
				if err != nil {
					errs[i] = fmt.Errorf("%s: %w", room.who, err)
					return
				}
				for _, address := range addresses {
					if got, want := slices.Contains(reached, address), slices.Contains(room.reach, ports[address]); got != want {
						errs[i] = errors.Join(errs[i], fmt.Errorf("%s reaches %s at %s: %t", room.who, ports[address], address, got))
					}
				}
			})
		}
		all.Wait()
		return errors.Join(errs...)
	})

	// Those who belong there hear of the counts.
	u.eventually(soon, "the API server and the scaler hear of all interceptors", func() error {
		if err := u.field("httpapp/"+app, "{.status.traffic.interceptors.reporting} of {.status.traffic.interceptors.expected}", "2 of 2"); err != nil {
			return err
		}
		for address, port := range ports {
			if port != "scaler admin" {
				continue
			}
			metrics, err := u.metricsAt(address)
			if err != nil {
				return err
			}
			if !strings.Contains(metrics, "\nkedahttp_scaler_interceptors_reporting 2\n") {
				return errors.New("the scaler does not hear of both")
			}
		}
		return nil
	})
}

// metricsAt reads a pod's metrics from its own node.
func (u user) metricsAt(address string) (string, error) {
	t := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		return inside(ctx, network, address)
	}}
	defer t.CloseIdleConnections()
	res, err := (&http.Client{Transport: t, Timeout: soon}).Get("http://" + address + "/metrics")
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return string(body), err
}
