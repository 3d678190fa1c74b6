package reconcile

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/kedahttp/kedahttp/apiserver/apis/apps/v1alpha1"
	"github.com/kedahttp/kedahttp/apiserver/workload"
)

var (
	deployments = appsv1.SchemeGroupVersion.WithResource("deployments")
	services    = corev1.SchemeGroupVersion.WithResource("services")
)

// workloadState is what became of an app's workload and its Service.
type workloadState struct {
	condition               condition
	replicas, readyReplicas int32
	// wanted is how many replicas an adopted workload is to have.
	wanted int32
	// unwatched is true when no informer tells of changes.
	unwatched bool
}

func failed(reason, message string) workloadState {
	return workloadState{condition: no(v1alpha1.ConditionWorkloadReady, reason, message)}
}

// reconcileWorkload makes the Deployment, unless the app adopts a workload, and the Service.
func (r *Reconciler) reconcileWorkload(ctx context.Context, app *v1alpha1.HTTPApp) (workloadState, error) {
	var state workloadState
	var selector map[string]string
	var err error
	if app.Spec.WorkloadRef != nil {
		state, selector, err = r.adopted(ctx, app)
	} else {
		selector = map[string]string{v1alpha1.AppLabel: app.Name}
		state, err = r.reconcileDeployment(ctx, app)
	}
	if err != nil || state.condition.status == metav1.ConditionFalse && selector == nil {
		return state, err
	}
	problem, err := r.reconcileService(ctx, app, selector)
	if problem != nil {
		state.condition = *problem
	}
	return state, err
}

func (r *Reconciler) reconcileDeployment(ctx context.Context, app *v1alpha1.HTTPApp) (workloadState, error) {
	template := app.Spec.Template.DeepCopy()
	template.Labels = maps.Clone(template.Labels)
	if template.Labels == nil {
		template.Labels = map[string]string{}
	}
	template.Labels[v1alpha1.AppLabel] = app.Name
	desired := &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "Deployment"},
		ObjectMeta: made(app),
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{v1alpha1.AppLabel: app.Name}},
			Template: *template,
		},
	}
	if err := r.applyDeployment(ctx, app, desired); err != nil {
		return failed(reasonOf(err), err.Error()), retry(err)
	}
	obj, there, err := r.Deployments.GetStore().GetByKey(nameOf(app).String())
	if err != nil || !there {
		return workloadState{condition: notYet(v1alpha1.ConditionWorkloadReady, "Creating", "the Deployment is being made")}, err
	}
	return r.deploymentState(app, obj.(*appsv1.Deployment)), nil
}

// deploymentState says how a Deployment fares.
func (r *Reconciler) deploymentState(app *v1alpha1.HTTPApp, d *appsv1.Deployment) workloadState {
	s := workloadState{replicas: d.Status.Replicas, readyReplicas: d.Status.ReadyReplicas}
	s.condition = r.podsCondition(app, d)
	return s
}

func (r *Reconciler) podsCondition(app *v1alpha1.HTTPApp, d *appsv1.Deployment) condition {
	var pods []*corev1.Pod
	if found, err := r.pods.GetIndexer().ByIndex(byApp, nameOf(app).String()); err == nil {
		for _, obj := range found {
			pods = append(pods, obj.(*corev1.Pod))
		}
	}
	r.mu.Lock()
	applied := r.applied[appliedKey{deployments, nameOf(app), app.Name}]
	r.mu.Unlock()
	// What is known here may be older than what was just applied.
	current := app.Spec.Template == nil || !(applied.uid == d.UID && applied.generation > d.Generation)
	now := time.Now()
	for _, pod := range pods {
		for _, c := range pod.Status.ContainerStatuses {
			if since, unready := unreadySince(c); unready && now.Sub(since) < unreadyAfter {
				r.queue.AddAfter(nameOf(app), unreadyAfter-now.Sub(since)+time.Second)
			}
		}
	}
	return podsCondition(app, d, current, pods, now, find(app.Status.Conditions, v1alpha1.ConditionWorkloadReady))
}

// podsCondition says how the pods of a Deployment fare. current is false when the Deployment has changed since. before is what
// was said so far: pods that came up with this spec are trusted to come up again, since waking is nothing to alarm about,
// while those of a new spec have that to prove first.
func podsCondition(app *v1alpha1.HTTPApp, d *appsv1.Deployment, current bool, pods []*corev1.Pod, now time.Time, before *metav1.Condition) condition {
	const kind = v1alpha1.ConditionWorkloadReady
	wanted, s := ptr.Deref(d.Spec.Replicas, 1), d.Status
	if wanted == 0 {
		return asleep(app)
	}
	current = current && s.ObservedGeneration >= d.Generation
	rolledOut := current && s.UpdatedReplicas > 0 && s.UpdatedReplicas == s.Replicas
	if rolledOut && s.ReadyReplicas >= wanted {
		return yes(kind, "Available", "all pods are ready")
	}
	if current {
		for _, pod := range pods {
			if reason, message := troubleOf(pod, now); reason != "" && !(rolledOut && s.ReadyReplicas > 0) {
				return no(kind, reason, message)
			}
		}
		for _, c := range s.Conditions {
			if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue ||
				c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse {
				return no(kind, c.Reason, c.Message)
			}
		}
	}
	if rolledOut && s.ReadyReplicas > 0 {
		return yes(kind, "Available", "some pods are ready, others are starting")
	}
	proven := before != nil && before.Status == metav1.ConditionTrue && before.ObservedGeneration == app.Generation
	say := notYet
	if proven {
		say = yes
	}
	if s.ReadyReplicas > 0 {
		return say(kind, "RollingOut", "pods of the latest template take over from earlier ones")
	}
	return say(kind, "Starting", "the pods are starting")
}

// asleep says of an app that is to have no pod what makes one.
func asleep(app *v1alpha1.HTTPApp) condition {
	message := "there is no pod; the next request makes one"
	if app.Spec.Scaling.Activation == v1alpha1.ActivationNever {
		message = "there is no pod, and requests make none; kubectl scale does"
	}
	return yes(v1alpha1.ConditionWorkloadReady, v1alpha1.ReasonScaledToZero, message)
}

// trouble are the reasons for which a container waits that waiting does not mend.
var trouble = []string{
	"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError",
	"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "CrashLoopBackOff",
}

// unreadyAfter is how long a container may run before it is worth saying that its probes do not succeed. The slowest of those that
// are well take about as long.
const unreadyAfter = time.Minute

// unreadySince is since when a container has run without being ready.
func unreadySince(c corev1.ContainerStatus) (since time.Time, unready bool) {
	if c.State.Running == nil || c.Ready {
		return since, false
	}
	return c.State.Running.StartedAt.Time, true
}

func troubleOf(pod *corev1.Pod, now time.Time) (reason, message string) {
	if pod.DeletionTimestamp != nil {
		return "", ""
	}
	for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		last := c.LastTerminationState.Terminated
		if c.State.Terminated != nil {
			last = c.State.Terminated
		}
		waiting := ""
		if c.State.Waiting != nil {
			waiting = c.State.Waiting.Reason
		}
		switch {
		// Between two crashes a container runs for a moment, and is in trouble all the same.
		case waiting == "CrashLoopBackOff", !c.Ready && c.RestartCount > 0 && last != nil && last.ExitCode != 0:
			message = fmt.Sprintf("container %s of pod %s ends again and again", c.Name, pod.Name)
			if last != nil {
				message += fmt.Sprintf(": with %d (%s)", last.ExitCode, last.Reason)
			}
			return "CrashLoopBackOff", message + fmt.Sprintf("; see kubectl logs --previous -n %s %s -c %s", pod.Namespace, pod.Name, c.Name)
		// The kubelet goes to and fro between these two. One name and one message, or the condition would, too.
		case waiting == "ErrImagePull", waiting == "ImagePullBackOff":
			return "ImagePullBackOff", fmt.Sprintf("container %s of pod %s: its image %s cannot be pulled; see kubectl describe pod -n %s %s",
				c.Name, pod.Name, c.Image, pod.Namespace, pod.Name)
		case slices.Contains(trouble, waiting):
			return waiting, fmt.Sprintf("container %s of pod %s: %s", c.Name, pod.Name, c.State.Waiting.Message)
		}
	}
	for _, c := range pod.Status.ContainerStatuses {
		if since, unready := unreadySince(c); unready && now.Sub(since) >= unreadyAfter {
			probe := "readiness"
			if c.Started != nil && !*c.Started {
				probe = "startup"
			}
			return "ProbeFailing", fmt.Sprintf("container %s of pod %s has run since %s and its %s probe does not succeed; see kubectl describe pod -n %s %s",
				c.Name, pod.Name, since.UTC().Format(time.RFC3339), probe, pod.Namespace, pod.Name)
		}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			return c.Reason, fmt.Sprintf("pod %s: %s", pod.Name, c.Message)
		}
	}
	return "", ""
}

// adopted looks at a workload that was there before the app. Its selector is nil when it cannot be found.
func (r *Reconciler) adopted(ctx context.Context, app *v1alpha1.HTTPApp) (workloadState, map[string]string, error) {
	ref := *app.Spec.WorkloadRef
	scale, err := r.Scales.Get(ctx, app.Namespace, ref)
	if apierrors.IsNotFound(err) {
		s := failed("WorkloadNotFound", fmt.Sprintf("there is no %s %s in namespace %s: make it, or correct spec.workloadRef", ref.Kind, ref.Name, app.Namespace))
		s.unwatched = true
		return s, nil, nil
	}
	if err != nil {
		s := failed("WorkloadNotScalable", err.Error())
		s.unwatched = true
		return s, nil, nil
	}
	parsed, err := labels.Parse(scale.Status.Selector)
	if err != nil {
		return failed("WorkloadNotScalable", fmt.Sprintf("the selector of %s %s, %q, cannot be read: %v", ref.Kind, ref.Name, scale.Status.Selector, err)), nil, nil
	}
	selector := map[string]string{}
	requirements, _ := parsed.Requirements()
	for _, q := range requirements {
		if value, exact := parsed.RequiresExactMatch(q.Key()); exact {
			selector[q.Key()] = value
		}
	}
	if (len(selector) == 0 || len(selector) != len(requirements)) && app.Spec.ServiceName == "" {
		return failed("NoService", fmt.Sprintf("no Service can be made for the selector %q: name one in spec.serviceName", scale.Status.Selector)), nil, nil
	}
	if workload.IsDeployment(ref) {
		if obj, there, err := r.Deployments.GetStore().GetByKey(app.Namespace + "/" + ref.Name); err == nil && there {
			state := r.deploymentState(app, obj.(*appsv1.Deployment))
			state.wanted = scale.Spec.Replicas
			return state, selector, nil
		}
	}
	ready, err := r.readyEndpoints(ctx, app)
	state := workloadState{replicas: scale.Status.Replicas, readyReplicas: ready, wanted: scale.Spec.Replicas, unwatched: true}
	switch {
	case scale.Spec.Replicas == 0:
		state.condition = asleep(app)
	case ready > 0:
		state.condition = yes(v1alpha1.ConditionWorkloadReady, "Available", "pods are ready")
	default:
		state.condition = yes(v1alpha1.ConditionWorkloadReady, "Starting", "the pods are starting")
	}
	return state, selector, err
}

// readyEndpoints counts what the app's Service leads to, for workloads that do not say themselves how many pods are ready.
func (r *Reconciler) readyEndpoints(ctx context.Context, app *v1alpha1.HTTPApp) (int32, error) {
	slices, err := r.Client.DiscoveryV1().EndpointSlices(app.Namespace).List(ctx, metav1.ListOptions{
		LabelSelector: labels.Set{discoveryv1.LabelServiceName: serviceOf(app)}.String(),
	})
	if err != nil {
		return 0, err
	}
	var ready int32
	for _, slice := range slices.Items {
		for _, e := range slice.Endpoints {
			if ptr.Deref(e.Conditions.Ready, true) {
				ready++
			}
		}
	}
	return ready, nil
}

func serviceOf(app *v1alpha1.HTTPApp) string {
	if app.Spec.ServiceName != "" {
		return app.Spec.ServiceName
	}
	return app.Name
}

// reconcileService makes the app's Service, or takes it away when the app uses another. The condition, if any, says what is in
// the way.
func (r *Reconciler) reconcileService(ctx context.Context, app *v1alpha1.HTTPApp, selector map[string]string) (*condition, error) {
	if name := app.Spec.ServiceName; name != "" {
		if err := r.removeMade(ctx, app, services, r.services.GetStore()); err != nil || name == app.Name {
			return nil, err
		}
		if _, err := r.Client.CoreV1().Services(app.Namespace).Get(ctx, name, metav1.GetOptions{}); apierrors.IsNotFound(err) {
			c := no(v1alpha1.ConditionWorkloadReady, "ServiceNotFound", fmt.Sprintf("there is no Service %s in namespace %s: make it, or leave spec.serviceName out", name, app.Namespace))
			r.queue.AddAfter(nameOf(app), lookAgain)
			return &c, nil
		} else if err != nil {
			return nil, err
		}
		return nil, nil
	}
	port, ok := r.portOf(app)
	if !ok {
		c := no(v1alpha1.ConditionWorkloadReady, "NoPort", "the pods declare no port: say in spec.port which one gets the requests")
		return &c, nil
	}
	desired := &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: made(app),
		Spec: corev1.ServiceSpec{
			Selector: selector,
			Ports:    []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: port}},
		},
	}
	switch app.Spec.Protocol {
	case v1alpha1.ProtocolH2C:
		desired.Spec.Ports[0].AppProtocol = ptr.To("kubernetes.io/h2c")
	case v1alpha1.ProtocolHTTPS:
		desired.Spec.Ports[0].AppProtocol = ptr.To("https")
	}
	if err := r.apply(ctx, app, services, desired, r.services.GetStore()); err != nil {
		c := no(v1alpha1.ConditionWorkloadReady, reasonOf(err), err.Error())
		return &c, retry(err)
	}
	return nil, nil
}

// portOf is the container port that gets the requests.
func (r *Reconciler) portOf(app *v1alpha1.HTTPApp) (intstr.IntOrString, bool) {
	if app.Spec.Port != nil {
		return *app.Spec.Port, true
	}
	var containers []corev1.Container
	if app.Spec.Template != nil {
		containers = app.Spec.Template.Spec.Containers
	} else if obj, there, err := r.Deployments.GetStore().GetByKey(app.Namespace + "/" + app.Spec.WorkloadRef.Name); err == nil && there {
		containers = obj.(*appsv1.Deployment).Spec.Template.Spec.Containers
	}
	for _, c := range containers {
		for _, p := range c.Ports {
			return intstr.FromInt32(p.ContainerPort), true
		}
	}
	return intstr.IntOrString{}, false
}
