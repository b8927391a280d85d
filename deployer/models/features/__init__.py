"""`deployer features`: write a feature spec, check it, and prove that it makes what training made."""
