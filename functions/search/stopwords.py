"""Words that say how a question is put and not what it is about."""

_ALL = """
a about above after again against all also am among an and any are as at be because been before being below between
both but by can cannot could did do does doing done down during each either etc few for from further had has have
having he her here hers herself him himself his how however i if in into is it its itself just let like many may me
might more most much must my myself neither no nor not of off on once one only onto or other our ours ourselves out
over own per please same shall she should since so some such than that the their theirs them themselves then there
these they this those through thus to too toward towards under until up upon us very was we were what when where
whether which while who whom whose why will with within without would yet you your yours yourself
arent cant couldnt didnt doesnt dont hadnt hasnt havent id ill im isnt ive lets shouldnt theres theyre wasnt werent
whats wheres whos wont wouldnt youre
anybody anyone anything describe discuss explain find found get gets give given gives know known show tell
"""

STOP_WORDS = frozenset(_ALL.split())
