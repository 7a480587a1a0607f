// Package pki answers: by which certificates do the components of one run know each other?
//
// Everything is made anew for each run and lives in its data folder: one authority for servers and clients, one for the
// front proxy (the aggregation layer must be able to tell its own requests from those of clients), and the key that
// signs service account tokens.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// lifetime of everything made here; a run lasts hours.
const lifetime = 30 * 24 * time.Hour

// Folder holds the files of one run.
type Folder struct {
	path string
	ca   authority
	// serial of the next certificate
	serial int64
}

type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

// New makes the authorities `ca` and `front-proxy-ca`, the service account key and the certificates of all components.
func New(path string) (*Folder, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	folder := &Folder{path: path, serial: 1}
	ca, err := folder.authority("ca", "sphere-controlplane")
	if err != nil {
		return nil, err
	}
	folder.ca = ca
	front, err := folder.authority("front-proxy-ca", "sphere-controlplane-front-proxy")
	if err != nil {
		return nil, err
	}
	serving := x509.Certificate{
		Subject:     pkix.Name{CommonName: "localhost"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, net.IPv4(10, 96, 0, 1)},
	}
	if err := folder.issue("serving", serving, folder.ca); err != nil {
		return nil, err
	}
	if err := folder.issue("front-proxy-client", client("front-proxy-client"), front); err != nil {
		return nil, err
	}
	for name, subject := range map[string]x509.Certificate{
		"admin":                   client("admin", "system:masters"),
		"kube-controller-manager": client("system:kube-controller-manager"),
		"kube-scheduler":          client("system:kube-scheduler"),
		"kwok":                    client("kwok", "system:masters"),
		"harness":                 client("harness", "system:masters"),
	} {
		if err := folder.issue(name, subject, folder.ca); err != nil {
			return nil, err
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return folder, folder.writeKey("service-account", key)
}

// Certificate is the path of the certificate called `name`.
func (f *Folder) Certificate(name string) string { return filepath.Join(f.path, name+".crt") }

// Key is the path of the private key called `name`.
func (f *Folder) Key(name string) string { return filepath.Join(f.path, name+".key") }

// Kubeconfig writes a kubeconfig for the client certificate called `name` to `path`.
func (f *Folder) Kubeconfig(name, server, path string) error {
	certificate, err := os.ReadFile(f.Certificate(name))
	if err != nil {
		return err
	}
	key, err := os.ReadFile(f.Key(name))
	if err != nil {
		return err
	}
	config, err := f.config(server, &api.AuthInfo{ClientCertificateData: certificate, ClientKeyData: key})
	if err != nil {
		return err
	}
	return clientcmd.WriteToFile(*config, path)
}

// TokenKubeconfig is a kubeconfig that authenticates by a bearer token.
func (f *Folder) TokenKubeconfig(server, namespace, token string) ([]byte, error) {
	config, err := f.config(server, &api.AuthInfo{Token: token})
	if err != nil {
		return nil, err
	}
	config.Contexts["sphere"].Namespace = namespace
	return clientcmd.Write(*config)
}

func (f *Folder) config(server string, user *api.AuthInfo) (*api.Config, error) {
	ca, err := os.ReadFile(f.Certificate("ca"))
	if err != nil {
		return nil, err
	}
	config := api.NewConfig()
	config.Clusters["sphere"] = &api.Cluster{Server: server, CertificateAuthorityData: ca}
	config.AuthInfos["sphere"] = user
	config.Contexts["sphere"] = &api.Context{Cluster: "sphere", AuthInfo: "sphere"}
	config.CurrentContext = "sphere"
	return config, nil
}

func client(name string, groups ...string) x509.Certificate {
	return x509.Certificate{
		Subject:     pkix.Name{CommonName: name, Organization: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

func (f *Folder) authority(name, subject string) (authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{}, err
	}
	template := x509.Certificate{
		Subject:               pkix.Name{CommonName: subject},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := f.sign(&template, &template, key.Public(), key, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature)
	if err != nil {
		return authority{}, err
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return authority{}, err
	}
	return authority{certificate, key}, f.write(name, der, key)
}

func (f *Folder) issue(name string, template x509.Certificate, by authority) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := f.sign(&template, by.certificate, key.Public(), by.key, x509.KeyUsageDigitalSignature)
	if err != nil {
		return err
	}
	return f.write(name, der, key)
}

func (f *Folder) sign(
	template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer, usage x509.KeyUsage,
) ([]byte, error) {
	template.SerialNumber = big.NewInt(f.serial)
	f.serial++
	template.KeyUsage = usage
	// Clocks are the same on one machine; the hour is for those that jump.
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = time.Now().Add(lifetime)
	return x509.CreateCertificate(rand.Reader, template, parent, public, signer)
}

func (f *Folder) write(name string, der []byte, key *ecdsa.PrivateKey) error {
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(f.Certificate(name), text, 0o600); err != nil {
		return err
	}
	return f.writeKey(name, key)
}

func (f *Folder) writeKey(name string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("key %s: %w", name, err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	return os.WriteFile(f.Key(name), text, 0o600)
}
