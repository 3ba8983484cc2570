/*
Copyright 2026 The pat-operator Authors.

Licensed under the Apache License, Version 2.0 (the "License");
you may not use this file except in compliance with the License.
You may obtain a copy of the License at

    http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software
distributed under the License is distributed on an "AS IS" BASIS,
WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
See the License for the specific language governing permissions and
limitations under the License.
*/

package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/pat-operator/pat-operator/test/long"
)

const (
	goodToken = "not-a-real-token"
	standInCA = "stand-in-ca.crt" // in the kubeconfig's folder
)

// TestMain lets the test binary be the manager that StartManager runs.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && slices.Contains([]string{"operator", "verifier", "run"}, os.Args[1]) {
		if err := standInManager(os.Args[1], os.Args[2:]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func TestStopTellsOfADataRaceInAManager(t *testing.T) {
	long.Only(t)
	c := &Cluster{Dir: t.TempDir()}
	for name, log := range map[string]string{"operator-1.log": "fine", "verifier-12.log": "WARNING: DATA RACE\nin index.go", "etcd.log": "fine"} {
		if err := os.WriteFile(c.path(name), []byte(log), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Stop(); err == nil || err.Error() != "a manager raced:\n\nin index.go" {
		t.Errorf("the error is %v", err)
	}
}

// standInManager serves a TokenReview that knows goodToken, an admission that refuses all, and a readiness probe.
func standInManager(command string, args []string) error {
	var kubeconfig, admission, verifier, health, server string
	var broken bool
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	flags.StringVar(&kubeconfig, "kubeconfig", "", "")
	flags.StringVar(&verifier, "verifier-bind-address", "", "")
	flags.StringVar(&admission, "admission-bind-address", "", "")
	flags.StringVar(&health, "health-probe-bind-address", "", "")
	flags.StringVar(&server, "verifier-url", "", "")
	for _, unused := range []string{"metrics-bind-address", "kube-apiservers"} {
		flags.String(unused, "", "")
	}
	flags.Bool("policies", true, "")
	flags.BoolVar(&broken, "broken", false, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if broken {
		return errors.New("broken as asked")
	}
	ca := filepath.Join(filepath.Dir(kubeconfig), standInCA)
	pair, err := standInPair(ca)
	if err != nil {
		return err
	}
	for address, handler := range map[string]http.HandlerFunc{verifier: serveReview, admission: serveRefusal} {
		if address == "" {
			continue
		}
		listener, err := tls.Listen("tcp", address, &tls.Config{
			Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13,
		})
		if err != nil {
			return err
		}
		server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
		go func() { _ = server.Serve(listener) }()
	}
	if server != "" {
		if err := publish(kubeconfig, server, ca); err != nil {
			return err
		}
	}
	probe := &http.Server{Addr: health, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
		ReadHeaderTimeout: time.Minute}
	go func() { _ = probe.ListenAndServe() }()
	defer func() { _ = probe.Close() }()
	fmt.Println("the stand-in serves")
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	<-ctx.Done()
	return nil
}

// publish creates what the verifier publishes for kube-apiserver, as the first of the stand-ins that verify.
func publish(kubeconfig, server, ca string) error {
	crt, err := os.ReadFile(ca)
	if err != nil {
		return err
	}
	path, err := (&Cluster{Dir: filepath.Dir(kubeconfig)}).Kubeconfig("stand-in",
		&rest.Config{Host: server, TLSClientConfig: rest.TLSClientConfig{CAData: crt}})
	if err != nil {
		return err
	}
	webhook, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	config, err := loadKubeconfig(kubeconfig)
	if err != nil {
		return err
	}
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	_, err = clientset.CoreV1().ConfigMaps(OperatorNamespace).Create(context.Background(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: authnConfigMap}, Data: map[string]string{
			"ca.crt": string(crt), "kubeconfig": string(webhook), "kubeconfig-scoped": string(webhook), "kubeconfig-authorizer": string(webhook),
		},
	}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// standInPair makes a certificate for the operator's faces, in its CA's folder, once for a cluster.
func standInPair(ca string) (tls.Certificate, error) {
	crtFile, keyFile := ca+".pair.crt", ca+".pair.key"
	if _, err := os.Stat(ca); err == nil {
		return tls.LoadX509KeyPair(crtFile, keyFile)
	}
	authority, err := newAuthority()
	if err != nil {
		return tls.Certificate{}, err
	}
	crt, key, err := authority.issue(pkix.Name{CommonName: "stand-in"}, x509.ExtKeyUsageServerAuth,
		"127.0.0.1", "pat-operator-admission.pat-operator-system.svc")
	if err != nil {
		return tls.Certificate{}, err
	}
	for name, data := range map[string][]byte{crtFile: crt, keyFile: key, ca: authority.pem()} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			return tls.Certificate{}, err
		}
	}
	return tls.LoadX509KeyPair(crtFile, keyFile)
}

func serveRefusal(w http.ResponseWriter, r *http.Request) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	review.Response = &admissionv1.AdmissionResponse{
		UID: review.Request.UID, Result: &metav1.Status{Message: "the stand-in refuses " + r.URL.Path},
	}
	_ = json.NewEncoder(w).Encode(review)
}

func serveReview(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Pid", fmt.Sprint(os.Getpid()))
	var review authenticationv1.TokenReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	review.Status = authenticationv1.TokenReviewStatus{Authenticated: review.Spec.Token == goodToken}
	if review.Status.Authenticated {
		review.Status.User.Username = "from-the-webhook"
	}
	_ = json.NewEncoder(w).Encode(review)
}
