"""Sign-in to the admin page at a provider of identities (OpenID Connect Core 1.0, code flow with PKCE)."""
