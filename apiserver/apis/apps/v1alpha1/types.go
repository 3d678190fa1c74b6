package v1alpha1

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// +genclient
// +genclient:method=GetScale,verb=get,subresource=scale,result=k8s.io/api/autoscaling/v1.Scale
// +genclient:method=UpdateScale,verb=update,subresource=scale,input=k8s.io/api/autoscaling/v1.Scale,result=k8s.io/api/autoscaling/v1.Scale
// +genclient:method=ApplyScale,verb=apply,subresource=scale,input=k8s.io/api/autoscaling/v1.Scale,result=k8s.io/api/autoscaling/v1.Scale
// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// HTTPApp is a container that is scaled by its HTTP requests, down to zero and back. It is everything there is to write for
// one app: the workload, its Service and its autoscaler follow from it.
type HTTPApp struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata. The name is at most 63 characters long, because it becomes part of a host name.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// What the app should be.
	// +optional
	Spec HTTPAppSpec `json:"spec,omitempty"`
	// What the app is. Read-only; its traffic part is live.
	// +optional
	Status HTTPAppStatus `json:"status,omitempty"`
}

// +k8s:deepcopy-gen:interfaces=k8s.io/apimachinery/pkg/runtime.Object

// HTTPAppList is a list of HTTPApps.
type HTTPAppList struct {
	metav1.TypeMeta `json:",inline"`
	// Standard list metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`
	// The apps.
	Items []HTTPApp `json:"items"`
}

// HTTPAppSpec says what the app should be. Exactly one of template and workloadRef is set.
type HTTPAppSpec struct {
	// The pods of the app. The app's Deployment is made from it, with the app's name.
	// +optional
	Template *corev1.PodTemplateSpec `json:"template,omitempty"`
	// An existing workload of the same namespace that becomes the app: a Deployment, a StatefulSet or anything else that has a
	// scale subresource. It is scaled, never changed in any other way, and left as it is when the app is deleted.
	// +optional
	WorkloadRef *WorkloadReference `json:"workloadRef,omitempty"`

	// The container port that gets the requests, by number or by name. Default: the first port of the template's first
	// container that has one, or the only port of the Service named by serviceName.
	// +optional
	Port *intstr.IntOrString `json:"port,omitempty"`
	// How the pods speak HTTP: http1, h2c (HTTP/2 without TLS) or https (over TLS, HTTP/2 or HTTP/1.1 as the pod chooses). Default:
	// what the Service port's appProtocol says, which is kubernetes.io/h2c or https, else http1. With https what is sent to the pods
	// is encrypted; whose certificate they have is not checked, because pods have addresses that no certificate names.
	// +optional
	Protocol Protocol `json:"protocol,omitempty"`
	// An existing Service of the same namespace whose endpoints get the requests. Default: a Service with the app's name is
	// made.
	// +optional
	ServiceName string `json:"serviceName,omitempty"`

	// The hosts, paths and headers that belong to the app. Default: one route for the host NAME.NAMESPACE.DOMAIN, where DOMAIN
	// is a setting of the API server.
	// +optional
	// +listType=atomic
	Routes []Route `json:"routes,omitempty"`

	// How many replicas the requests call for, and who sees to it.
	// +optional
	Scaling Scaling `json:"scaling,omitempty"`

	// The most requests that one pod gets at the same time from one interceptor, so of two interceptors twice as many; others
	// wait, within the bounds of queue, and go in the order of their arrival. 0, the default, is no limit.
	// +optional
	ConcurrencyLimit int32 `json:"concurrencyLimit,omitempty"`
	// The bounds on requests that wait while no pod is ready or each has as many as concurrencyLimit allows.
	// +optional
	Queue Queue `json:"queue,omitempty"`
	// How long requests and connections may take.
	// +optional
	Timeouts Timeouts `json:"timeouts,omitempty"`
	// What callers get while the app has no ready pod, other than waiting. The app is woken all the same.
	// +optional
	ColdStart *ColdStart `json:"coldStart,omitempty"`
	// The certificate for the app's hosts, which are then served with TLS, too.
	// +optional
	TLS *TLS `json:"tls,omitempty"`
	// What is made to let the app's hosts in from outside, by an Ingress or a Gateway that the cluster has. Default: nothing, for
	// clusters where all hosts lead to the interceptors already.
	// +optional
	Expose *Expose `json:"expose,omitempty"`
}

// WorkloadReference names a workload in the app's namespace.
type WorkloadReference struct {
	// The group and version, such as apps/v1.
	APIVersion string `json:"apiVersion"`
	// The kind, such as Deployment.
	Kind string `json:"kind"`
	// The name of the object.
	Name string `json:"name"`
}

// Protocol is how an interceptor speaks HTTP to the pods.
type Protocol string

const (
	// ProtocolHTTP1 is HTTP/1.1 in plain text.
	ProtocolHTTP1 Protocol = "http1"
	// ProtocolH2C is HTTP/2 in plain text with prior knowledge (RFC 9113 section 3.3).
	ProtocolH2C Protocol = "h2c"
	// ProtocolHTTPS is HTTP over TLS, version by ALPN.
	ProtocolHTTPS Protocol = "https"
)

// Route is a set of hosts, a path prefix and headers. A request belongs to the app when one of the hosts, the prefix and all
// headers match. An exact host goes before a wildcard and a longer wildcard before a shorter one; then a longer path prefix;
// then more headers. Of two apps with the same route the older one keeps it.
type Route struct {
	// DNS names, in full (shop.example.com) or with a wildcard as their first label (*.example.com), without a port.
	// +listType=atomic
	Hosts []string `json:"hosts"`
	// The beginning of the path, whole segments only: /api matches /api and /api/v1, not /apis. The default, /,
	// matches every path.
	// +optional
	PathPrefix string `json:"pathPrefix,omitempty"`
	// Headers that the request must have, each with exactly this value.
	// +optional
	// +listType=map
	// +listMapKey=name
	Headers []HeaderMatch `json:"headers,omitempty"`
	// A fixed response to all requests of this route, such as the path of a load balancer's health check, /robots.txt, or a
	// redirection. They neither wake the app nor count for its scaling.
	// +optional
	Static *StaticResponse `json:"static,omitempty"`
}

// StaticResponse is a fixed response, whatever the method.
type StaticResponse struct {
	// The status code, from 200 to 599. Default: 200.
	// +optional
	StatusCode int32 `json:"statusCode,omitempty"`
	// Headers of the response, such as Location or Cache-Control. Content-Type is text/plain; charset=utf-8 if it is not among
	// them; those that belong to the connection or say how long the body is are not allowed.
	// +optional
	// +listType=map
	// +listMapKey=name
	Headers []ResponseHeader `json:"headers,omitempty"`
	// The body, at most 64 KiB. Default: none.
	// +optional
	Body string `json:"body,omitempty"`
}

// ResponseHeader is a header of a response.
type ResponseHeader struct {
	// The name of the header, in any case.
	Name string `json:"name"`
	// The value of the header.
	Value string `json:"value"`
}

// HeaderMatch is a header that a request must have.
type HeaderMatch struct {
	// The name of the header, in any case.
	Name string `json:"name"`
	// The value of the header, compared exactly.
	Value string `json:"value"`
}

// Metric is what the number of replicas follows.
type Metric string

const (
	// MetricConcurrency is the number of requests that wait or are being answered, averaged over time.
	MetricConcurrency Metric = "concurrency"
	// MetricRequestRate is the number of requests that arrive per second.
	MetricRequestRate Metric = "requestRate"
)

// Autoscaler is who scales the app between one and maxReplicas.
type Autoscaler string

const (
	// AutoscalerKEDA makes a KEDA ScaledObject.
	AutoscalerKEDA Autoscaler = "KEDA"
	// AutoscalerHPA makes a HorizontalPodAutoscaler on external metrics, for clusters without KEDA. What it cannot do, to none and
	// back, this API server does.
	AutoscalerHPA Autoscaler = "HPA"
	// AutoscalerNone leaves the number of replicas to kubectl scale; the app still wakes from zero, unless its activation is Never.
	AutoscalerNone Autoscaler = "None"
)

// Activation is what wakes the app from zero.
type Activation string

const (
	// ActivationRequests wakes the app when a request comes.
	ActivationRequests Activation = "Requests"
	// ActivationNever leaves the app asleep. Requests are answered with 503 at once.
	ActivationNever Activation = "Never"
)

// Scaling says how many replicas the requests call for: ceil(metric / target), within minReplicas and maxReplicas.
type Scaling struct {
	// The fewest replicas. 0, the default, lets an idle app cost nothing.
	// +optional
	MinReplicas *int32 `json:"minReplicas,omitempty"`
	// The most replicas. Default: 10.
	// +optional
	MaxReplicas *int32 `json:"maxReplicas,omitempty"`
	// What to follow: concurrency, the default, or requestRate.
	// +optional
	Metric Metric `json:"metric,omitempty"`
	// How much of the metric one replica is for: requests at a time (default 100), or requests per second (default 100).
	// +optional
	Target *resource.Quantity `json:"target,omitempty"`
	// The time over which the metric is averaged, from 1s to 10m. Default: 60s.
	// +optional
	Window *metav1.Duration `json:"window,omitempty"`
	// How long the app must be without a request before its last replica is taken away. Default: 5m.
	// +optional
	Cooldown *metav1.Duration `json:"cooldown,omitempty"`
	// How fast the number of replicas may change, as for a HorizontalPodAutoscaler. What is not said in scaleUp: the app is scaled up
	// without waiting for the autoscaler's next look when the requests of the last two seconds call for twice as many replicas as there are.
	// What is not said in scaleDown: replicas are taken away when fewer are called for during the window.
	// +optional
	Behavior *autoscalingv2.HorizontalPodAutoscalerBehavior `json:"behavior,omitempty"`
	// Who scales the app: KEDA, the default; HPA, for clusters without KEDA; or None.
	// +optional
	Autoscaler Autoscaler `json:"autoscaler,omitempty"`
	// What wakes the app from zero: Requests, the default; or Never, only with autoscaler None: requests to an app that was scaled to zero
	// are answered with 503 at once.
	// +optional
	Activation Activation `json:"activation,omitempty"`
	// How often KEDA asks whether the app still has requests, at least 1s; that requests come it is told at once. Default: 5s, or what
	// was set in the ScaledObject by hand.
	// +optional
	PollingInterval *metav1.Duration `json:"pollingInterval,omitempty"`
	// While true, nothing changes the number of replicas by itself.
	// +optional
	Paused bool `json:"paused,omitempty"`
}

// Queue bounds the requests that wait while no pod is ready.
type Queue struct {
	// The most requests that may wait in one interceptor; one more is answered with 503 and Retry-After. Default: 1000.
	// +optional
	MaxPending *int32 `json:"maxPending,omitempty"`
	// The longest that a request waits before it is answered with 503 and Retry-After. Default: 2m.
	// +optional
	MaxWait *metav1.Duration `json:"maxWait,omitempty"`
}

// Timeouts of one request. What flows, be it the request's body on its way to a pod, the response or an upgraded connection, is ended
// by idle alone, however long it takes.
type Timeouts struct {
	// From a request's arrival until its response begins, the wait for a pod and a second try included; then 504. Of a request
	// whose body takes its time it counts from the end of the body. Default: 0, no limit.
	// +optional
	Request *metav1.Duration `json:"request,omitempty"`
	// From when a pod has got a request, with its body, until the response's header arrives; then 504. Default: 0, no limit.
	// +optional
	ResponseHeader *metav1.Duration `json:"responseHeader,omitempty"`
	// The longest silence, in both directions at once, of what flows: of the request's body on its way to a pod, then 504; of the
	// response, streams included, and of an upgraded connection, which end then. Default: 0, no limit.
	// +optional
	Idle *metav1.Duration `json:"idle,omitempty"`
}

// ColdStart says what callers get while the app has no ready pod, other than waiting. The header X-KedaHTTP-Cold-Start of the
// response names which: fallback or placeholder. The app is woken as by a request that waits. With both, the fallback goes first,
// and the placeholder is for when that has no ready pod either.
type ColdStart struct {
	// A Service of the same namespace that answers meanwhile. When it has no ready pod either, requests wait for the app.
	// +optional
	Fallback *FallbackService `json:"fallback,omitempty"`
	// A fixed response to GET and HEAD meanwhile, with Retry-After; other requests, and those that ask for an upgrade, wait: they
	// would be lost. Callers whose Accept header excludes its media type or prefers JSON get 503 with a message as text or JSON.
	// +optional
	Placeholder *Placeholder `json:"placeholder,omitempty"`
}

// FallbackService answers while the app wakes.
type FallbackService struct {
	// The name of the Service.
	ServiceName string `json:"serviceName"`
	// The port of the Service. Of a Service with several ports it is the number at which the pods listen, its targetPort.
	Port int32 `json:"port"`
	// How long a request waits for the app first. Default: 0, not at all.
	// +optional
	After *metav1.Duration `json:"after,omitempty"`
}

// Placeholder is a fixed response.
type Placeholder struct {
	// The status code. Default: 503.
	// +optional
	StatusCode int32 `json:"statusCode,omitempty"`
	// The media type of the body. Default: text/html; charset=utf-8.
	// +optional
	ContentType string `json:"contentType,omitempty"`
	// The body, at most 64 KiB. Default: none, or for text/html a page that says that the app is starting and reloads itself.
	// +optional
	Body string `json:"body,omitempty"`
}

// Expose says what is made to let the app's hosts in: an Ingress, an HTTPRoute or both. Either leads the hosts and the paths of
// the app's routes to the interceptors, which choose the app as for any other request.
type Expose struct {
	// An Ingress of the app's name.
	// +optional
	Ingress *ExposeIngress `json:"ingress,omitempty"`
	// An HTTPRoute of the Gateway API, of the app's name.
	// +optional
	HTTPRoute *ExposeHTTPRoute `json:"httpRoute,omitempty"`
}

// ExposeIngress is what an Ingress is made of beside the app's hosts. Its backend is a Service of type ExternalName that is made, too,
// and names the interceptors' Service.
type ExposeIngress struct {
	// The IngressClass, which says whose the Ingress is. Default: the cluster's default class.
	// +optional
	ClassName string `json:"className,omitempty"`
	// Annotations of the Ingress, for its controller.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
	// A Secret of type kubernetes.io/tls in the same namespace, with which the Ingress controller ends TLS for the app's hosts.
	// Default: none; what the controller has for them.
	// +optional
	TLSSecretName string `json:"tlsSecretName,omitempty"`
}

// ExposeHTTPRoute is what an HTTPRoute is made of beside the app's hosts. Its backend is the interceptors' Service, by a ReferenceGrant
// that is made in their namespace.
type ExposeHTTPRoute struct {
	// The Gateways that the route is for.
	// +listType=atomic
	ParentRefs []GatewayReference `json:"parentRefs"`
	// Annotations of the HTTPRoute.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
}

// GatewayReference names a Gateway, or a listener of it.
type GatewayReference struct {
	// The namespace of the Gateway. Default: the app's.
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// The name of the Gateway.
	Name string `json:"name"`
	// The listener of the Gateway. Default: all that the hosts fit.
	// +optional
	SectionName string `json:"sectionName,omitempty"`
	// The port of the Gateway. Default: any.
	// +optional
	Port int32 `json:"port,omitempty"`
}

// TLS names the certificate for the app's hosts.
type TLS struct {
	// A Secret of type kubernetes.io/tls in the same namespace. When it changes, new connections get the new certificate, and those
	// that are open go on. Of a host on which several apps have routes, the certificate is that of the app with the broadest one:
	// the shortest pathPrefix, then the fewest headers, then the older app. Interceptors get the right to read this Secret and no
	// other, by a Role that is made for the app.
	SecretName string `json:"secretName"`
	// Answer requests that come without TLS with a redirect (308) to https, as long as there is a certificate to serve with. Default:
	// they are served alike. A proxy in front that ended TLS, is trusted and says so in X-Forwarded-Proto is not sent back.
	// +optional
	Redirect bool `json:"redirect,omitempty"`
}

const (
	// ConditionReady is true when a request to the app's URL would be answered by the app, at once or after waking it.
	ConditionReady = "Ready"
	// ConditionWorkloadReady is true when the workload and the Service exist as the spec says and its pods, if any, come up.
	ConditionWorkloadReady = "WorkloadReady"
	// ConditionRoutesAccepted is true when no older app owns a route of this one.
	ConditionRoutesAccepted = "RoutesAccepted"
	// ConditionScalerReady is true when the autoscaler is set up and works.
	ConditionScalerReady = "ScalerReady"
	// ConditionTLSReady is true when the certificate that spec.tls names is there, valid and for all hosts of the app. Without
	// spec.tls there is no such condition.
	ConditionTLSReady = "TLSReady"
	// ConditionExposed is true when what spec.expose asks for is made and, of an HTTPRoute, its Gateways have taken it. Without spec.expose
	// there is no such condition.
	ConditionExposed = "Exposed"
)

const (
	// ReasonHostConflict says that an older app owns a route.
	ReasonHostConflict = "HostConflict"
	// ReasonScaledToZero says that the workload is to have no replica.
	ReasonScaledToZero = "ScaledToZero"
)

// HTTPAppStatus says what the app is.
type HTTPAppStatus struct {
	// The generation of the spec that the conditions speak of.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Ready, WorkloadReady, RoutesAccepted, ScalerReady, with spec.tls TLSReady and with spec.expose Exposed, each with a reason and a
	// sentence that says what to do.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +patchMergeKey=type
	// +patchStrategy=merge
	Conditions []metav1.Condition `json:"conditions,omitempty" patchStrategy:"merge" patchMergeKey:"type"`
	// Where the app is reached: its first route without a fixed response; with https while TLSReady is true, or if its Ingress ends TLS.
	// +optional
	URL string `json:"url,omitempty"`
	// The workload that runs the app.
	// +optional
	Workload *WorkloadReference `json:"workload,omitempty"`
	// How many pods the workload has.
	// +optional
	Replicas int32 `json:"replicas,omitempty"`
	// How many of them are ready.
	// +optional
	ReadyReplicas int32 `json:"readyReplicas,omitempty"`
	// When the workload was last seen to have been scaled up from no replica.
	// +optional
	LastScaleFromZeroTime *metav1.MicroTime `json:"lastScaleFromZeroTime,omitempty"`
	// When the workload was last seen to have been scaled to no replica.
	// +optional
	LastScaleToZeroTime *metav1.MicroTime `json:"lastScaleToZeroTime,omitempty"`
	// How many replicas an adopted workload was last to have while it was not at zero, if it is we who take it there: with the autoscaler
	// HPA. When the app goes, a workload at zero gets them back.
	// +optional
	LentReplicas int32 `json:"lentReplicas,omitempty"`
	// The requests of this moment; absent while no interceptor has reported any. It is joined when an answer is made and never
	// stored: watches in JSON do not move with it, watches in table form (kubectl get --watch) do.
	// +optional
	Traffic *Traffic `json:"traffic,omitempty"`
}

// Traffic is what the interceptors count for the app, summed over all of them.
type Traffic struct {
	// Requests that wait: accepted, not yet forwarded to a pod.
	Pending int64 `json:"pending"`
	// Requests that a pod is answering.
	InFlight int64 `json:"inFlight"`
	// Pending and in-flight requests, averaged exactly (as an integral over time) over the last 10 seconds.
	Concurrency resource.Quantity `json:"concurrency"`
	// Requests that arrived per second, over the last 10 seconds.
	RequestRate resource.Quantity `json:"requestRate"`
	// Requests that found no ready pod since the interceptors started.
	ColdStarts int64 `json:"coldStarts"`
	// When the last request arrived.
	// +optional
	LastRequestTime *metav1.MicroTime `json:"lastRequestTime,omitempty"`
	// The last cold start that an interceptor has seen to its end.
	// +optional
	LastColdStart *CompleteColdStart `json:"lastColdStart,omitempty"`
	// When the oldest of the counts behind these numbers was taken. Present while fewer interceptors report than are expected;
	// absent while all do, as the numbers are those of this moment then.
	// +optional
	SampledAt *metav1.MicroTime `json:"sampledAt,omitempty"`
	// How many interceptors these numbers come from.
	Interceptors Interceptors `json:"interceptors"`
}

// CompleteColdStart is the way from a request that found no ready pod to its response, as in the response's header
// X-KedaHTTP-Cold-Start, with what was not known yet when that was written.
type CompleteColdStart struct {
	// When the response began.
	Time metav1.MicroTime `json:"time"`
	// How long the request took until then.
	Total metav1.Duration `json:"total"`
	// What was reached on the way, in this order: decided, created, scheduled, address, probe or ready, first-byte.
	// +listType=map
	// +listMapKey=name
	Stages []ColdStartStage `json:"stages"`
}

// ColdStartStage is a stage of a cold start.
type ColdStartStage struct {
	// The name of the stage.
	Name string `json:"name"`
	// How long after the request it was reached.
	After metav1.Duration `json:"after"`
}

// Interceptors says how complete the counts are. Fewer reporting than expected: the numbers are at least what is shown.
type Interceptors struct {
	// Interceptors whose counts are current.
	Reporting int32 `json:"reporting"`
	// Interceptors that there are.
	Expected int32 `json:"expected"`
}
