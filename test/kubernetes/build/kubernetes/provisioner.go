package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	clientset "k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/workqueue"
)

const provisionedBy = "pv.kubernetes.io/provisioned-by"

// provisioner makes a `local` volume for each claim of its class: a folder on the node. Unlike the hostPath volumes of the
// controller manager's own provisioner these honour fsGroup, so that pods that are not root can write to them.
type provisioner struct {
	client  clientset.Interface
	claims  listers.PersistentVolumeClaimLister
	volumes listers.PersistentVolumeLister
	queue   workqueue.TypedRateLimitingInterface[string]
	name    string
	class   string
	node    string
	folder  string
}

func runProvisioner() error {
	p := &provisioner{}
	flag.StringVar(&p.name, "name", "", "the StorageClass's provisioner")
	flag.StringVar(&p.class, "class", "", "the StorageClass")
	flag.StringVar(&p.node, "node", "", "the node that has the folder")
	flag.StringVar(&p.folder, "folder", "", "where the volumes' folders go")
	kubeconfig := flag.String("kubeconfig", "", "how to reach the API")
	flag.Parse()
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 200, 400
	if p.client, err = clientset.NewForConfig(config); err != nil {
		return err
	}
	p.queue = workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[string](20*time.Millisecond, 5*time.Second))
	factory := informers.NewSharedInformerFactory(p.client, 0)
	claims, volumes := factory.Core().V1().PersistentVolumeClaims(), factory.Core().V1().PersistentVolumes()
	p.claims, p.volumes = claims.Lister(), volumes.Lister()
	enqueue := cache.ResourceEventHandlerFuncs{
		AddFunc:    p.enqueue,
		UpdateFunc: func(_, object any) { p.enqueue(object) },
		DeleteFunc: p.enqueue,
	}
	for _, informer := range []cache.SharedIndexInformer{claims.Informer(), volumes.Informer()} {
		if _, err := informer.AddEventHandler(enqueue); err != nil {
			return err
		}
	}
	ctx := context.Background()
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	for {
		name, _ := p.queue.Get()
		if err := p.reconcile(ctx, name); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			p.queue.AddRateLimited(name)
		} else {
			p.queue.Forget(name)
		}
		p.queue.Done(name)
	}
}

// A claim and the volume made for it have one name in the queue: the volume's.
func (p *provisioner) enqueue(object any) {
	switch it := object.(type) {
	case *core.PersistentVolumeClaim:
		p.queue.Add(volumeName(it))
	case *core.PersistentVolume:
		p.queue.Add(it.Name)
	}
}

func volumeName(claim *core.PersistentVolumeClaim) string { return "pvc-" + string(claim.UID) }

func (p *provisioner) reconcile(ctx context.Context, name string) error {
	volume, err := p.volumes.Get(name)
	if err != nil {
		claim, err := p.claimFor(name)
		if err != nil || claim == nil {
			return err
		}
		return p.provision(ctx, name, claim)
	}
	if volume.Annotations[provisionedBy] != p.name || volume.DeletionTimestamp != nil ||
		volume.Status.Phase != core.VolumeReleased || volume.Spec.PersistentVolumeReclaimPolicy != core.PersistentVolumeReclaimDelete {
		return nil
	}
	if err := os.RemoveAll(volume.Spec.Local.Path); err != nil {
		return err
	}
	err = p.client.CoreV1().PersistentVolumes().Delete(ctx, name, meta.DeleteOptions{})
	if errors.IsNotFound(err) {
		return nil
	}
	return err
}

// claimFor finds the claim that waits for the volume of this name, if there is one.
func (p *provisioner) claimFor(name string) (*core.PersistentVolumeClaim, error) {
	claims, err := p.claims.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	for _, claim := range claims {
		class := claim.Spec.StorageClassName
		if volumeName(claim) == name && class != nil && *class == p.class && claim.Spec.VolumeName == "" && claim.DeletionTimestamp == nil {
			return claim, nil
		}
	}
	return nil, nil
}

func (p *provisioner) provision(ctx context.Context, name string, claim *core.PersistentVolumeClaim) error {
	path := filepath.Join(p.folder, name)
	if err := os.MkdirAll(path, 0o777); err != nil {
		return err
	}
	// Whatever the umask: a pod without fsGroup may write, too.
	if err := os.Chmod(path, 0o777); err != nil {
		return err
	}
	mode := core.PersistentVolumeFilesystem
	_, err := p.client.CoreV1().PersistentVolumes().Create(ctx, &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: name, Annotations: map[string]string{provisionedBy: p.name}},
		Spec: core.PersistentVolumeSpec{
			Capacity:                      core.ResourceList{core.ResourceStorage: claim.Spec.Resources.Requests[core.ResourceStorage]},
			AccessModes:                   claim.Spec.AccessModes,
			PersistentVolumeReclaimPolicy: core.PersistentVolumeReclaimDelete,
			StorageClassName:              p.class,
			VolumeMode:                    &mode,
			PersistentVolumeSource:        core.PersistentVolumeSource{Local: &core.LocalVolumeSource{Path: path}},
			ClaimRef: &core.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim",
				Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID, ResourceVersion: claim.ResourceVersion,
			},
			NodeAffinity: &core.VolumeNodeAffinity{Required: &core.NodeSelector{NodeSelectorTerms: []core.NodeSelectorTerm{{
				MatchExpressions: []core.NodeSelectorRequirement{{
					Key: core.LabelHostname, Operator: core.NodeSelectorOpIn, Values: []string{p.node},
				}},
			}}}},
		},
	}, meta.CreateOptions{})
	if errors.IsAlreadyExists(err) {
		return nil
	}
	return err
}
