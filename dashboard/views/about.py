"""About: what the labels are, how far they can be trusted, and where they may not be used."""

from __future__ import annotations

import streamlit as st

_TEXT = """
## It labels facial expressions. It does not read feelings.

A label names what a face looks like in one picture: raised brows, a smile, a frown. People smile
out of courtesy and frown at the sun; whoever is sad may show nothing. No label says what a person
feels, thinks or intends, and none should decide anything about anyone.

## How far to trust it

- **Measured on web photographs.** The accuracy that we publish was measured on FER2013 faces with
  FER+ votes: small grey pictures from a web search, each labelled by ten people who often
  disagreed. Your camera, light and people are different. `undercam evaluate` prints the numbers.
- **Rare expressions are weak.** Of a thousand training faces about 350 are neutral and 290 happy,
  but only 20 fearful, 5 disgusted and 5 contemptuous. The last three are missed often, and are
  wrong often when shown.
- **People are not equally represented.** The pictures are balanced neither by age, gender, skin
  tone nor culture, and the data say nothing of them, so how much worse it works for whom has not
  been measured. Expect it to work worse for people whom such photographs show seldom.
- **Hard pictures stay hard.** Behind a display panel, in the dark, from the side or behind a mask,
  faces are missed first and mistaken next. What is too uncertain is called *unknown*: read that as
  "no answer", never as an expression.

## Where it may not be used

- **Not for workplaces and schools.** The EU AI Act (Regulation 2024/1689), Article 5(1)(f),
  prohibits AI systems that infer emotions of people at the workplace and in education, save for
  medical or safety reasons.
- **Elsewhere, tell people, and ask them.** The Act counts emotion recognition among its high-risk
  uses (Annex III) and has those exposed to it informed (Article 50(3)). A face is personal data:
  have a lawful reason, as a rule people's consent, and delete what they ask you to delete.

## What is kept, and how it is deleted

Rows hold numbers: where a face was, its eight probabilities, its times. No image of a face is
stored by cameras that run, no setting makes them store one, and these pages show none. Images of
the people in your clips are written only by `undercam analyze --annotate FILE` and `undercam udc`,
where you ask for them.

Rows stay until somebody deletes them: there is neither a command for that nor a time after which
they go, and `undercam cameras remove` leaves them. Delete them by SQL, from the tables
`observations` and `tracks` by camera, run and track. `emotion_minutes` holds sums over all faces of
a minute, from which one person cannot be taken out. Before that, let nothing be on its way: what
still waits in an outbox, or is read from Kafka again, is stored again. Kafka keeps records for
`bus.retention_hours` in topics that we made.
"""


def show() -> None:
    """The page."""
    st.title("About", anchor=False)
    with st.container(width=760):
        st.markdown(_TEXT, anchors=False)
