-- include: line
-- An ask needs its ticket no more. Guards: a ticket that others ride on stays.
--   KEYS[1] ask hash
leave_line(KEYS[1])
