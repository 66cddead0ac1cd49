"""The thesis's tables 3.1 and 3.2: rows, columns and numbers, in percent."""

from typing import Dict, List, Tuple

# Key, which names of configs and work directories end with -> the row's name.
REGIMENS: Dict[str, str] = {
    'random': 'Random',
    'dino-in1k': 'DINO',
    'dino': 'DINO (CheXpert)',
    'dino-cxr-aug': 'DINO (CheXpert, chest augmentation)',
    'triangular': 'MeDINO (Triangular)',
    'average': 'MeDINO (Global average)',
    'deformable': 'MeDINO (Deformable)',
}
GUIDED = ('triangular', 'average', 'deformable')
PARTS: Dict[str, str] = {'heart': 'Heart', 'left_lung': 'Left lung', 'right_lung': 'Right lung'}
DATASETS: Dict[str, str] = {'jsrt': 'JSRT', 'montgomery': 'Montgomery'}

_ROWS_3_1 = ('dino-in1k', 'dino', 'dino-cxr-aug', 'triangular', 'average', 'deformable')


def _column(*values: float) -> Dict[str, float]:
    return dict(zip(_ROWS_3_1, values))


# Data set -> part -> regimen -> attention AP.
TABLE_3_1: Dict[str, Dict[str, Dict[str, float]]] = {
    'jsrt': {
        'heart': _column(19.1, 5.7, 26.4, 54.5, 71.6, 89.9),
        'left_lung': _column(30.1, 22.0, 25.1, 59.2, 71.3, 88.3),
        'right_lung': _column(46.3, 27.0, 36.5, 45.6, 82.5, 87.3),
    },
    'montgomery': {
        'left_lung': _column(43.2, 16.5, 40.7, 40.0, 84.1, 90.0),
        'right_lung': _column(35.0, 15.8, 27.6, 54.8, 50.3, 88.4),
    },
}
# Regimen -> mean AUROC of six findings of CheXpert.
TABLE_3_2: Dict[str, float] = {
    'random': 69.9, 'dino-in1k': 83.8, 'dino': 60.4, 'dino-cxr-aug': 84.3, 'triangular': 84.8,
    'average': 86.2, 'deformable': 86.5,
}


def rows_of(table: str) -> List[Tuple[str, str]]:
    """Key and name of each row of ``'3.1'`` or ``'3.2'``."""
    keys = _ROWS_3_1 if table == '3.1' else TABLE_3_2
    return [(key, REGIMENS[key]) for key in keys]
