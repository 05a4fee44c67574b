// Makes a service token, rotates it without an outage, and ends it; asks the gate after each step.
//
//	CLOUDFLARE_BASE_URL=http://127.0.0.1:8787/client/v4 CLOUDFLARE_API_TOKEN=csat_… CLOUDFLARE_ACCOUNT_ID=… go run .
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/cloudflare/cloudflare-go/v6"
	"github.com/cloudflare/cloudflare-go/v6/option"
	"github.com/cloudflare/cloudflare-go/v6/zero_trust"
)

var (
	account = os.Getenv("CLOUDFLARE_ACCOUNT_ID")
	gate    = cmp.Or(os.Getenv("COUNTERSIGN_GATE"), "http://127.0.0.1:8788")
)

func main() {
	ctx := context.Background()
	// The environment gives the API token. A program that must not repeat a create sets no retries.
	client := cloudflare.NewClient(
		option.WithBaseURL(cmp.Or(os.Getenv("CLOUDFLARE_BASE_URL"), "http://127.0.0.1:8787/client/v4")),
		option.WithMaxRetries(0),
	)
	tokens := client.ZeroTrust.Access.ServiceTokens

	first, err := tokens.New(ctx, zero_trust.AccessServiceTokenNewParams{
		AccountID: cloudflare.F(account),
		Name:      cloudflare.F("example"),
		Duration:  cloudflare.F("24h"),
	})
	check(err)
	ask("created", first.ClientID, first.ClientSecret)

	second, err := tokens.Rotate(ctx, first.ID, zero_trust.AccessServiceTokenRotateParams{
		AccountID:                     cloudflare.F(account),
		PreviousClientSecretExpiresAt: cloudflare.F(time.Now().Add(time.Hour)),
	})
	check(err)
	ask("rotated, old secret", first.ClientID, first.ClientSecret)
	ask("rotated, new secret", first.ClientID, second.ClientSecret)

	// A time that has passed ends the grace period now.
	_, err = tokens.Update(ctx, first.ID, zero_trust.AccessServiceTokenUpdateParams{
		AccountID:                     cloudflare.F(account),
		PreviousClientSecretExpiresAt: cloudflare.F(time.Now()),
	})
	check(err)
	ask("grace ended, old secret", first.ClientID, first.ClientSecret)

	listed := tokens.ListAutoPaging(ctx, zero_trust.AccessServiceTokenListParams{
		AccountID: cloudflare.F(account),
		Name:      cloudflare.F("example"),
	})
	for listed.Next() {
		fmt.Println("listed:", listed.Current().ID)
	}
	check(listed.Err())

	_, err = tokens.Delete(ctx, first.ID, zero_trust.AccessServiceTokenDeleteParams{AccountID: cloudflare.F(account)})
	check(err)
	ask("deleted, new secret", first.ClientID, second.ClientSecret)
}

// ask shows what a proxy would be told about this pair.
func ask(what, clientID, clientSecret string) {
	request, err := http.NewRequest(http.MethodGet, gate+"/verify?account_id="+account, nil)
	check(err)
	request.Header.Set("CF-Access-Client-Id", clientID)
	request.Header.Set("CF-Access-Client-Secret", clientSecret)
	answer, err := http.DefaultClient.Do(request)
	check(err)
	defer answer.Body.Close()
	fmt.Printf("%s: %d %s\n", what, answer.StatusCode, answer.Header.Get("Countersign-Reason"))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
