# A service token kept by the Cloudflare provider 4.52. It speaks nothing but HTTPS: put a proxy with TLS in front of the
# management API.
#
#   export CLOUDFLARE_API_TOKEN=csat_…
#   terraform init && terraform apply -var account_id=…

terraform {
  required_providers {
    cloudflare = {
      source  = "cloudflare/cloudflare"
      version = "~> 4.52"
    }
  }
}

variable "account_id" {
  type = string
}

# The host name of the proxy, without a scheme.
variable "api_hostname" {
  type    = string
  default = "countersign.example.com"
}

provider "cloudflare" {
  api_hostname  = var.api_hostname
  api_base_path = "/client/v4"
}

resource "cloudflare_zero_trust_access_service_token" "deploy" {
  account_id = var.account_id
  name       = "deploy"

  # This version of the provider allows 8760h, 17520h, 43800h, 87600h and forever.
  duration = "8760h"

  # An apply within 30 days of the end refreshes the token for a year.
  min_days_for_renewal = 30
}

output "client_id" {
  value = cloudflare_zero_trust_access_service_token.deploy.client_id
}

output "client_secret" {
  value     = cloudflare_zero_trust_access_service_token.deploy.client_secret
  sensitive = true
}
