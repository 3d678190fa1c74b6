package plugin

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
)

// applyToPods puts what the flags say of the pods into the app's template, which is made if there is none.
func (s *settings) applyToPods(app *v1alpha1.HTTPApp) {
	if app.Spec.Template == nil {
		port := intstr.FromInt32(s.port)
		app.Spec.Template = &corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name:  containerName,
			Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: s.port, Protocol: corev1.ProtocolTCP}},
			// Once a second, because a cold start may wait for it.
			ReadinessProbe: &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: port}}},
		}}}}
	}
	container := served(app)
	if s.changed("port") {
		movePort(app, container, s.port)
	}
	if s.image != "" {
		container.Image = s.image
	}
	if s.changed("image-pull-policy") {
		container.ImagePullPolicy = corev1.PullPolicy(s.pullPolicy)
	}
	if s.changed("health") {
		setHealth(app, container, s.health)
	}
	for _, variable := range s.environment {
		setVariable(container, variable)
	}
	for _, text := range s.environmentOf {
		if source, err := parseSource(text); err == nil && !slices.ContainsFunc(container.EnvFrom, sameSource(source)) {
			container.EnvFrom = append(container.EnvFrom, source)
		}
	}
	s.applyResources(container)
	switch {
	case s.asCommand:
		container.Command, container.Args = s.command, nil
	case len(s.command) > 0:
		container.Args = s.command
	}
}

func (s *settings) applyResources(container *corev1.Container) {
	set := func(list *corev1.ResourceList, name corev1.ResourceName, q apiresource.Quantity) {
		if q.IsZero() {
			return
		}
		if *list == nil {
			*list = corev1.ResourceList{}
		}
		(*list)[name] = q
	}
	set(&container.Resources.Requests, corev1.ResourceCPU, s.cpuQuantity)
	set(&container.Resources.Requests, corev1.ResourceMemory, s.memoryQuantity)
	// CPU has no limit: it can be shared. Memory cannot be taken back.
	set(&container.Resources.Limits, corev1.ResourceMemory, s.memoryQuantity)
}

// served is the container that gets the requests: the one with the app's port, that of deploy's name, or the first.
func served(app *v1alpha1.HTTPApp) *corev1.Container {
	containers := app.Spec.Template.Spec.Containers
	if port := app.Spec.Port; port != nil {
		for i := range containers {
			for _, p := range containers[i].Ports {
				if port.Type == intstr.Int && p.ContainerPort == port.IntVal || port.Type == intstr.String && p.Name == port.StrVal {
					return &containers[i]
				}
			}
		}
	}
	if i := slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == containerName }); i >= 0 {
		return &containers[i]
	}
	return &containers[0]
}

// movePort lets the container listen elsewhere, and its probes ask there.
func movePort(app *v1alpha1.HTTPApp, container *corev1.Container, to int32) {
	i := slices.IndexFunc(container.Ports, func(p corev1.ContainerPort) bool {
		return app.Spec.Port == nil || *app.Spec.Port == intstr.FromInt32(p.ContainerPort) || *app.Spec.Port == intstr.FromString(p.Name)
	})
	if i < 0 {
		container.Ports = append(container.Ports, corev1.ContainerPort{Name: "http", ContainerPort: to, Protocol: corev1.ProtocolTCP})
		return
	}
	from := intstr.FromInt32(container.Ports[i].ContainerPort)
	container.Ports[i].ContainerPort = to
	for _, probe := range []*corev1.Probe{container.ReadinessProbe, container.LivenessProbe, container.StartupProbe} {
		if probe == nil {
			continue
		}
		if probe.HTTPGet != nil && probe.HTTPGet.Port == from {
			probe.HTTPGet.Port = intstr.FromInt32(to)
		}
		if probe.TCPSocket != nil && probe.TCPSocket.Port == from {
			probe.TCPSocket.Port = intstr.FromInt32(to)
		}
	}
}

// setHealth lets the readiness probe ask a path or, without one, only whether somebody listens. Its pace stays.
func setHealth(app *v1alpha1.HTTPApp, container *corev1.Container, path string) {
	port := intstr.FromInt32(defaultPort)
	switch {
	case len(container.Ports) > 0:
		port = intstr.FromInt32(container.Ports[0].ContainerPort)
	case app.Spec.Port != nil:
		port = *app.Spec.Port
	}
	if container.ReadinessProbe == nil {
		container.ReadinessProbe = &corev1.Probe{PeriodSeconds: 1}
	}
	handler := &container.ReadinessProbe.ProbeHandler
	if path == "" {
		*handler = corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: port}}
	} else {
		*handler = corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: port}}
	}
}

// setVariable sets or removes an environment variable. The order of those that there are stays: they may build on each other.
func setVariable(container *corev1.Container, text string) {
	name, value, remove, err := parseVariable(text)
	if err != nil {
		return // it was refused already
	}
	i := slices.IndexFunc(container.Env, func(v corev1.EnvVar) bool { return v.Name == name })
	switch {
	case remove && i >= 0:
		container.Env = slices.Delete(container.Env, i, i+1)
	case remove:
	case i >= 0:
		container.Env[i] = corev1.EnvVar{Name: name, Value: value}
	default:
		container.Env = append(container.Env, corev1.EnvVar{Name: name, Value: value})
	}
}

func sameSource(a corev1.EnvFromSource) func(corev1.EnvFromSource) bool {
	name := func(s corev1.EnvFromSource) string {
		switch {
		case s.SecretRef != nil:
			return "secret/" + s.SecretRef.Name
		case s.ConfigMapRef != nil:
			return "configmap/" + s.ConfigMapRef.Name
		}
		return fmt.Sprint(s)
	}
	return func(b corev1.EnvFromSource) bool { return name(a) == name(b) }
}
