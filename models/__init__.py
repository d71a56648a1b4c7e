"""What both ports share: schema, kernel environment, HugeTLB functions ported once."""
