"""Entropy coding: levels of a feature map as about as many bytes as they hold information, decoded exactly.

Neighbouring levels of a feature map are similar, and channels differ. Each level is therefore coded with the level
frequencies of its context, which depends on its neighbours and its channel. `lanes` cuts the levels (batch, height,
width, channels) into L lanes of S levels each. `context_model` has the contexts and their frequencies. `coder` is a
range coder (rANS; Duda, https://arxiv.org/abs/1311.2540) with one state per lane, all lanes side by side in numpy.

                lane 0   lane 1   …   lane L-1
      step 0      ▒        ▒             ▒
      step 1      ▒        ▒             ▒       context of a level ◄── the level to its left, the level above,
        …         ▒        ▒             ▒                              the mean, kind and class of its channel
      step S-1    ▒        ▒             ▒

The result has two parts. The caller compresses the first one with its own head (see `quantised`).

               1 byte   C bytes            C bytes   classes · rows · count bytes
              ┌──────┬──────────────────┬─────────┬──────────────────────────────────────────────────────┐
      model   │ form │ 4 · kind + class │  means  │ frequencies of the levels, by class, row and level   │
              └──────┴──────────────────┴─────────┴──────────────────────────────────────────────────────┘
               2 · L bytes                    1 byte each
              ┌────────────────────────────┬─────────────────────────────────────────────────────────────┐
      data    │ the state of each lane, u2 │ the bytes that lanes read: step by step, then lane by lane  │
              └────────────────────────────┴─────────────────────────────────────────────────────────────┘

    form         32 + 3 · (index of rows in 48 24 16 12 8 6 4 3 2 1) + (index of classes in 4 2 1)
    kind         index of the weights (left, above) in (0, 0) (0, 1) … (6, 0), in sixths, left + above ≤ 6; the rest
                 is the weight of the channel's mean
    class        0 to classes - 1, by the rank of the channel's prediction error; all classes have the same size
    mean         the channel's mean level, rounded
    frequency    0: the level never occurs in this context; else 1 + 2 log2(256 · its share), rounded

Kinds, classes and means are left out if a channel has fewer than 64 levels: all channels then have kind (2, 2), class 0
and mean 0. A context is a class and a row: the weighted sum of left, above and mean, from 0 to 6 · (count - 1), in
`rows` intervals of equal size. At the first column the level above is also the left one, at the first row the left
one also the one above, and at the first level of a band both are the mean. Decoding uses integers only, so that
every machine decodes the bytes of any other.
"""
