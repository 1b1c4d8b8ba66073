"""The functions of kn-ts, one folder each; they share code only through `knts` and talk only through events."""
