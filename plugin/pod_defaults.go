package plugin

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// defaultPods fills in what Kubernetes does in the pods of a Deployment, where it is always the same. An app that went back to an earlier
// revision has it all, since it comes from a ReplicaSet.
func defaultPods(template *corev1.PodTemplateSpec) {
	spec := &template.Spec
	fill(&spec.RestartPolicy, corev1.RestartPolicyAlways)
	fill(&spec.DNSPolicy, corev1.DNSClusterFirst)
	fill(&spec.SchedulerName, corev1.DefaultSchedulerName)
	fill(&spec.DeprecatedServiceAccount, spec.ServiceAccountName)
	fill(&spec.TerminationGracePeriodSeconds, ptr.To[int64](corev1.DefaultTerminationGracePeriodSeconds))
	fill(&spec.SecurityContext, &corev1.PodSecurityContext{})
	for i := range spec.InitContainers {
		defaultContainer(&spec.InitContainers[i])
	}
	for i := range spec.Containers {
		defaultContainer(&spec.Containers[i])
	}
	for i := range spec.Volumes {
		defaultVolume(&spec.Volumes[i].VolumeSource)
	}
}

func fill[T comparable](field *T, value T) {
	var empty T
	if *field == empty {
		*field = value
	}
}

func defaultContainer(c *corev1.Container) {
	fill(&c.ImagePullPolicy, pullPolicyOf(c.Image))
	fill(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	fill(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	for i := range c.Ports {
		fill(&c.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for i := range c.Env {
		if from := c.Env[i].ValueFrom; from != nil && from.FieldRef != nil {
			fill(&from.FieldRef.APIVersion, "v1")
		}
	}
	for _, probe := range []*corev1.Probe{c.ReadinessProbe, c.LivenessProbe, c.StartupProbe} {
		if probe == nil {
			continue
		}
		fill(&probe.TimeoutSeconds, 1)
		fill(&probe.PeriodSeconds, 10)
		fill(&probe.SuccessThreshold, 1)
		fill(&probe.FailureThreshold, 3)
		defaultHTTPGet(probe.HTTPGet)
		if probe.GRPC != nil {
			fill(&probe.GRPC.Service, ptr.To(""))
		}
	}
	if c.Lifecycle == nil {
		return
	}
	for _, handler := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
		if handler != nil {
			defaultHTTPGet(handler.HTTPGet)
		}
	}
}

func defaultHTTPGet(action *corev1.HTTPGetAction) {
	if action != nil {
		fill(&action.Path, "/")
		fill(&action.Scheme, corev1.URISchemeHTTP)
	}
}

// pullPolicyOf is the default for an image: of the latest one, nobody knows whether it is.
func pullPolicyOf(image string) corev1.PullPolicy {
	name := image[strings.LastIndex(image, "/")+1:]
	_, tag, tagged := strings.Cut(name, ":")
	if tag == "latest" || !tagged && !strings.Contains(name, "@") {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}

func defaultVolume(v *corev1.VolumeSource) {
	if *v == (corev1.VolumeSource{}) {
		v.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	if v.Secret != nil {
		fill(&v.Secret.DefaultMode, ptr.To(corev1.SecretVolumeSourceDefaultMode))
	}
	if v.ConfigMap != nil {
		fill(&v.ConfigMap.DefaultMode, ptr.To(corev1.ConfigMapVolumeSourceDefaultMode))
	}
	if v.DownwardAPI != nil {
		fill(&v.DownwardAPI.DefaultMode, ptr.To(corev1.DownwardAPIVolumeSourceDefaultMode))
		defaultFields(v.DownwardAPI.Items)
	}
	if v.HostPath != nil {
		fill(&v.HostPath.Type, ptr.To(corev1.HostPathUnset))
	}
	if v.Projected == nil {
		return
	}
	fill(&v.Projected.DefaultMode, ptr.To(corev1.ProjectedVolumeSourceDefaultMode))
	for _, source := range v.Projected.Sources {
		if source.ServiceAccountToken != nil {
			fill(&source.ServiceAccountToken.ExpirationSeconds, ptr.To[int64](3600))
		}
		if source.DownwardAPI != nil {
			defaultFields(source.DownwardAPI.Items)
		}
	}
}

func defaultFields(files []corev1.DownwardAPIVolumeFile) {
	for i := range files {
		if files[i].FieldRef != nil {
			fill(&files[i].FieldRef.APIVersion, "v1")
		}
	}
}
