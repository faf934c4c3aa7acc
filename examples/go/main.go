// Writes records to Redis, repeats calls that fail, and reads all records back.
//
// The settings are environment variables: see the README of the examples.
package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	giveUp  = time.Minute      // without an answer to one command
	timeout = 15 * time.Second // longer than the proxy waits for a primary: 10 s
)

// connect returns a client of `halab proxy`, or of the primary that the Sentinels name.
func connect() (*redis.Client, error) {
	sentinels := os.Getenv("SENTINELS")
	if sentinels == "" {
		options, err := redis.ParseURL(os.Getenv("REDIS_URL"))
		if err != nil {
			return nil, err
		}
		options.ReadTimeout = timeout
		return redis.NewClient(options), nil
	}
	password, err := os.ReadFile(os.Getenv("REDIS_PASSWORD_FILE"))
	if err != nil {
		return nil, err
	}
	options := &redis.FailoverOptions{
		MasterName:       os.Getenv("PRIMARY_NAME"),
		SentinelAddrs:    strings.Split(sentinels, ","),
		Username:         os.Getenv("REDIS_USER"),
		Password:         strings.TrimSpace(string(password)),
		SentinelUsername: os.Getenv("REDIS_USER"),
		SentinelPassword: strings.TrimSpace(string(password)),
	}
	if ca := os.Getenv("REDIS_CA"); ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pem)
		options.TLSConfig = &tls.Config{RootCAs: roots}
	}
	return redis.NewFailoverClient(options), nil
}

// report is what the program prints at the end.
type report struct {
	Client       string  `json:"client"`
	Records      int     `json:"records"`
	Acknowledged int     `json:"acknowledged"`
	Missing      *int    `json:"missing"`
	FailedCalls  int     `json:"failed_calls"`
	FirstError   *string `json:"first_error"`
	LongestCall  int64   `json:"longest_call_ms"`
	LongestWait  int64   `json:"longest_wait_ms"`
}

// call repeats a call that fails. Repeating is harmless here: it sets the same key to the same
// value.
func (r *report) call(command func() error) error {
	begun := time.Now()
	for {
		called := time.Now()
		err := command()
		r.LongestCall = max(r.LongestCall, time.Since(called).Milliseconds())
		r.LongestWait = max(r.LongestWait, time.Since(begun).Milliseconds())
		if err == nil || errors.Is(err, redis.Nil) {
			return nil
		}
		r.FailedCalls++
		if r.FirstError == nil {
			text := err.Error()
			r.FirstError = &text
		}
		if time.Since(begun) > giveUp {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (r *report) writeAndRead(db *redis.Client, prefix string, pace time.Duration) error {
	ctx := context.Background()
	values := make([]string, 0, r.Records)
	for number := range r.Records {
		value := fmt.Sprintf("%d %s", time.Now().UnixNano(), rand.Text())
		key := fmt.Sprintf("%s:%d", prefix, number)
		if err := r.call(func() error { return db.Set(ctx, key, value, 0).Err() }); err != nil {
			return err
		}
		values = append(values, value)
		r.Acknowledged++
		time.Sleep(pace)
	}
	missing := 0
	for number, value := range values {
		key := fmt.Sprintf("%s:%d", prefix, number)
		var found string
		read := func() (err error) {
			found, err = db.Get(ctx, key).Result()
			return err
		}
		if err := r.call(read); err != nil {
			return err
		}
		if found != value {
			missing++
		}
	}
	r.Missing = &missing
	return nil
}

// number is the value of a variable, or what stands in for it.
func number(variable string, otherwise int) int {
	if value, err := strconv.Atoi(os.Getenv(variable)); err == nil {
		return value
	}
	return otherwise
}

func main() {
	db, err := connect()
	if err != nil {
		fmt.Fprintln(os.Stderr, "set REDIS_URL or SENTINELS: see the README:", err)
		os.Exit(2)
	}
	prefix := "shop"
	if app := os.Getenv("APP"); app != "" {
		prefix = app
	}
	pace := time.Duration(number("PACE_MS", 0)) * time.Millisecond
	r := report{Client: "go-redis " + redis.Version(), Records: number("RECORDS", 1000)}
	// After an error it has given up: the numbers show it.
	err = r.writeAndRead(db, prefix+":record", pace)
	json.NewEncoder(os.Stdout).Encode(r)
	if err != nil || *r.Missing > 0 {
		os.Exit(1)
	}
}
