"""What became of one image's registration."""

import json
from dataclasses import dataclass

import numpy as np

from orl_mm.registration.quality import Quality

STATUSES = ('deformable', 'affine', 'template')


@dataclass(frozen=True)
class Outcome:
    """What became of an image.

    Attributes:
        status (str): One of :data:`STATUSES`.
        reason (str): Why it is not the first one.
        quality (Quality, optional): Of the deformable result; None if there is none.
        masks (np.ndarray, optional): (R, S, S) uint8 0/1; None when read from a note.
    """

    status: str
    reason: str
    quality: Quality | None
    masks: np.ndarray | None = None

    def note(self) -> str:
        """Everything but the masks as one line of JSON, for the cache's entry."""
        quality = self.quality and dict(
            s=[round(v, 3) for v in self.quality.similarity],
            a=[round(v, 2) for v in self.quality.area],
            f=round(self.quality.folded, 5),
        )
        return json.dumps(
            dict(status=self.status, reason=self.reason[:200], q=quality), separators=(',', ':')
        )

    @classmethod
    def from_note(cls, note: str) -> 'Outcome':
        """Read :meth:`note` back.

        Raises:
            ValueError: Something else.
        """
        try:
            found = json.loads(note)
            q = found['q'] and Quality(
                tuple(found['q']['s']), tuple(found['q']['a']), found['q']['f']
            )
            return cls(found['status'], found['reason'], q or None)
        except (KeyError, TypeError) as error:
            raise ValueError(f'no note of a registration: {note!r}') from error
