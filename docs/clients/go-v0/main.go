// Makes a service token, rotates it, and ends it; asks the gate after each step. For version 0 of the Go client, which
// knows no grace periods: its rotation ends the old secret at once.
//
//	CLOUDFLARE_API_TOKEN=csat_… CLOUDFLARE_ACCOUNT_ID=… go run .
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"net/http"
	"os"

	"github.com/cloudflare/cloudflare-go"
)

var (
	account = os.Getenv("CLOUDFLARE_ACCOUNT_ID")
	gate    = cmp.Or(os.Getenv("COUNTERSIGN_GATE"), "http://127.0.0.1:8788")
)

func main() {
	ctx := context.Background()
	// This version reads no variables by itself.
	api, err := cloudflare.NewWithAPIToken(
		os.Getenv("CLOUDFLARE_API_TOKEN"),
		cloudflare.BaseURL(cmp.Or(os.Getenv("CLOUDFLARE_BASE_URL"), "http://127.0.0.1:8787/client/v4")),
	)
	check(err)
	scope := cloudflare.AccountIdentifier(account)

	token, err := api.CreateAccessServiceToken(ctx, scope, cloudflare.CreateAccessServiceTokenParams{
		Name:     "example",
		Duration: "24h",
	})
	check(err)
	ask("created", token.ClientID, token.ClientSecret)

	rotated, err := api.RotateAccessServiceToken(ctx, scope, token.ID)
	check(err)
	ask("rotated, old secret", token.ClientID, token.ClientSecret)
	ask("rotated, new secret", token.ClientID, rotated.ClientSecret)

	_, err = api.RefreshAccessServiceToken(ctx, scope, token.ID)
	check(err)

	listed, _, err := api.ListAccessServiceTokens(ctx, scope, cloudflare.ListAccessServiceTokensParams{})
	check(err)
	for _, token := range listed {
		fmt.Println("listed:", token.ID)
	}

	_, err = api.DeleteAccessServiceToken(ctx, scope, token.ID)
	check(err)
	ask("deleted, new secret", token.ClientID, rotated.ClientSecret)
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
