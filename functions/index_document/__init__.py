"""The index-document function: takes documents' events and keeps their passages searchable."""
