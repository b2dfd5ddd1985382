"""The desk of agents, compliance officers and supervisors: borrowers, evidence, reviews, conversations."""
