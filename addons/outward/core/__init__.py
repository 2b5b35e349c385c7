"""The pure core: names, addresses, policy and decisions. No I/O, no clock, no framework.

Every public function has an example, and they are run. Beside the names of their module and of `model` they know:

- `rule("a.example", methods={"GET"})`: a rule as a policy file would hold it
- `policy(rule(...), ...)`: a policy whose one group, `dev`, allows by these rules; anyone is in it
- `question_of("https://a.example/x", "dev")`: what a client of `dev` asks (see `urls`)
- `Host`, `Rules`, `ip_address`, `ip_network`
"""
