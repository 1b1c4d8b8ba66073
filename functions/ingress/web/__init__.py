"""The web page of ingress: server-rendered, with htmx for what moves."""
