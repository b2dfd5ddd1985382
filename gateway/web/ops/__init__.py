"""The pages of operators: the present state, pauses, dead letters, unknown outcomes, webhooks, runbooks, sessions."""
