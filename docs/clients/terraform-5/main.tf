# A service token kept by the Cloudflare provider 5.
#
#   export CLOUDFLARE_API_TOKEN=csat_…
#   terraform init && terraform apply -var account_id=…

terraform {
  required_providers {
    cloudflare = {
      source  = "cloudflare/cloudflare"
      version = "~> 5.22"
    }
  }
}

variable "account_id" {
  type = string
}

# The management API of Countersign, with its prefix. The variable CLOUDFLARE_BASE_URL does the same.
variable "base_url" {
  type    = string
  default = "http://127.0.0.1:8787/client/v4"
}

provider "cloudflare" {
  base_url = var.base_url
}

resource "cloudflare_zero_trust_access_service_token" "deploy" {
  account_id = var.account_id
  name       = "deploy"
  duration   = "8760h"

  # To rotate: add one to the version, and say until when the superseded secret stays good. Both are good meanwhile.
  # To end the grace period early: put a time that has passed.
  client_secret_version = 1
  # client_secret_version             = 2
  # previous_client_secret_expires_at = "2027-01-31T12:00:00Z"
}

output "client_id" {
  value = cloudflare_zero_trust_access_service_token.deploy.client_id
}

# In the state in plain text, as with every provider: keep the state where secrets may be.
output "client_secret" {
  value     = cloudflare_zero_trust_access_service_token.deploy.client_secret
  sensitive = true
}

# To take over a token that exists already (its secret and version stay unknown to Terraform):
#
# import {
#   to = cloudflare_zero_trust_access_service_token.deploy
#   id = "accounts/<account id>/<service token id>"
# }
