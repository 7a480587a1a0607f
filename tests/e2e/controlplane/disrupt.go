package main

// What does a client see when the API server dies, or forgets the past? Disruptions on request.

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"sphere.dev/controlplane/internal/control"
)

// Kill ends a component at once; it stays down until Start.
func (c *cluster) Kill(name string) error {
	c.surgery.Lock()
	defer c.surgery.Unlock()
	return c.processes.Stop(name, 0)
}

// Start starts a component that was killed, and waits for the API server if it is that.
func (c *cluster) Start(ctx context.Context, name string) error {
	c.surgery.Lock()
	defer c.surgery.Unlock()
	return c.startAgain(ctx, name)
}

func (c *cluster) startAgain(ctx context.Context, name string) error {
	if err := c.processes.Start(name); err != nil {
		return err
	}
	if name == "kube-apiserver" || name == "etcd" {
		return c.AwaitAPI(ctx)
	}
	return nil
}

// Restart kills a component, leaves it down for a while and starts it again.
func (c *cluster) Restart(ctx context.Context, name string, down time.Duration) error {
	c.surgery.Lock()
	defer c.surgery.Unlock()
	if err := c.processes.Stop(name, 0); err != nil {
		return err
	}
	if err := pause(ctx, down); err != nil {
		return err
	}
	return c.startAgain(ctx, name)
}

// ExpireWatches makes every watch that is resumed end with "410 Gone": the API server is restarted, so that its watch
// cache is empty, and while it is down etcd moves on and forgets all revisions clients may know. It then proves it by
// resuming a watch itself.
func (c *cluster) ExpireWatches(ctx context.Context, down time.Duration) (control.Expiry, error) {
	c.surgery.Lock()
	defer c.surgery.Unlock()
	var expiry control.Expiry
	maps := c.clients.CoreV1().ConfigMaps(metav1.NamespaceDefault)
	before, err := maps.List(ctx, metav1.ListOptions{})
	if err != nil {
		return expiry, err
	}
	expiry.OldResourceVersion = before.ResourceVersion
	if err := c.processes.Stop("kube-apiserver", 0); err != nil {
		return expiry, err
	}
	if err := c.forget(ctx); err != nil {
		return expiry, errors.Join(err, c.startAgain(ctx, "kube-apiserver"))
	}
	if err := pause(ctx, down); err != nil {
		return expiry, err
	}
	if err := c.startAgain(ctx, "kube-apiserver"); err != nil {
		return expiry, err
	}
	expiry.Observed = c.resume(ctx, before.ResourceVersion)
	return expiry, nil
}

// forget compacts etcd up to a revision that no client has seen.
func (c *cluster) forget(ctx context.Context) error {
	etcd, err := clientv3.New(clientv3.Config{Endpoints: []string{c.etcd}, DialTimeout: 10 * time.Second})
	if err != nil {
		return err
	}
	defer etcd.Close()
	var revision int64
	for i := range 10 {
		// Outside of /registry, where the API server keeps its objects.
		answer, err := etcd.Put(ctx, "/sphere/bump", fmt.Sprint(i))
		if err != nil {
			return err
		}
		revision = answer.Header.Revision
	}
	_, err = etcd.Compact(ctx, revision, clientv3.WithCompactPhysical())
	return err
}

// resume watches from an old version and says what the API server answers.
func (c *cluster) resume(ctx context.Context, version string) string {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	maps := c.clients.CoreV1().ConfigMaps(metav1.NamespaceDefault)
	stream, err := maps.Watch(ctx, metav1.ListOptions{ResourceVersion: version})
	if err != nil {
		return err.Error()
	}
	defer stream.Stop()
	select {
	case event, open := <-stream.ResultChan():
		if !open {
			return "the watch ended without an event"
		}
		if event.Type == watch.Error {
			return apierrors.FromObject(event.Object).Error()
		}
		return "an event of type " + string(event.Type)
	case <-ctx.Done():
		return "nothing in 20 s"
	}
}

func pause(ctx context.Context, length time.Duration) error {
	select {
	case <-time.After(length):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
